import TestSupport

/// What Redis keeps of a user's values, beside their windows.
struct ValuesInRedis: Equatable {
    /// When the bundle of each value expires, in milliseconds.
    var bundles: [String: Int]
    /// The values in the set, by when each was last known to be used.
    var known: [String: Int]
    /// What is held against Redis's own rules: none.
    var faults: [String] = []

    init(bundles: [String: Int], known: [String: Int]) {
        self.bundles = bundles
        self.known = known
    }

    /// - Parameter names: the names of the values, joined by commas.
    init(_ redis: RedisConnection, base: String, names: String) throws {
        func expiry(_ key: String) throws -> Int { try redis.command("PEXPIRETIME", key).integer ?? 0 }
        let prefix = "{\(base)}:by:"
        let all = try redis.command("KEYS", "*").elements.compactMap(\.text).filter { $0.hasPrefix(prefix) }
        bundles = [:]
        for key in all where !key.dropFirst(prefix.count).contains("}") {
            bundles[String(key.dropFirst(prefix.count))] = try expiry(key)
        }
        known = [:]
        let (set, allNames) = ("{\(base)}:values:\(names)", "{\(base)}:values")
        let members = try redis.command("ZRANGE", set, "0", "-1", "WITHSCORES").elements.compactMap(\.text)
        for place in stride(from: 0, to: members.count, by: 2) { known[members[place]] = Int(members[place + 1]) }
        for key in all where key.dropFirst(prefix.count).contains("}") {
            let value = String(key.dropFirst(prefix.count).prefix { $0 != "}" })
            if bundles[value] == nil { faults.append("\(key) has no bundle") }
        }
        guard let latest = bundles.values.max() else { return }
        for value in bundles.keys where known[value] == nil { faults.append("\(value) is not in its set") }
        if try expiry(set) <= latest { faults.append("the set goes before a bundle") }
        if try expiry(allNames) < expiry(set) { faults.append("the names go before a set") }
        let stands = try redis.command("ZSCORE", allNames, names).text.flatMap { Int($0) } ?? 0
        if try stands != expiry(set) { faults.append("the names do not say when the set goes") }
    }
}
