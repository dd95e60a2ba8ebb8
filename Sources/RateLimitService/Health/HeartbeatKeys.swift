import RedisClient

/// The keys of a heartbeat on one server: like those that decisions meet, and nobody else's.
///
/// A user or group cannot be called so that it meets them: behind a `~` its key has a digest and nothing else. In a cluster each has a number with which it falls into
/// a slot of the master that is asked; what is kept further of it has its slot, as with the windows of users and groups.
struct HeartbeatKeys: Hashable, Sendable {
    /// The numbers that are tried for a key: as good as certain to meet a master that has a single slot.
    static let numbers = 0..<262_144

    /// Where the latest heartbeat is written that nobody reads, as in a cluster.
    var latest: String
    /// What `heartbeat.lua` tries commands on: a string, a hash and a sorted set.
    var tried: [String]
    /// The window of a check.
    var check: String
    /// The windows of a user, a group and all under the limits of the file.
    var windows: [String]
    /// The true key of what all share, which is only looked at; nil where another master has it.
    var global: String?

    /// Those on the only server.
    init(prefix: String) { self.init(prefix: prefix, tag: "0", windows: Self.bases(prefix).map { "\($0)0" }) }

    private init(prefix: String, tag: String, windows: [String]) {
        // Not behind a brace, as what belongs to a user's or group's window is: a check does not meet such keys.
        latest = "\(prefix):heartbeat:{\(tag)}:latest"
        tried = ["string", "hash", "set"].map { "\(prefix):heartbeat:{\(tag)}:\($0)" }
        check = windows[0]
        self.windows = Array(windows[1...])
        global = WindowOwner.global.key(prefix: prefix)
    }

    /// Those in a master's slots; nil where it seems to have none.
    init?(prefix: String, in slots: (HashSlot) -> Bool) {
        guard let tag = Self.text("", in: slots) else { return nil }
        var windows: [String] = []
        for base in Self.bases(prefix) {
            guard let key = Self.text(base, in: slots) else { return nil }
            windows.append(key)
        }
        self.init(prefix: prefix, tag: tag, windows: windows)
        if let key = global, !slots(HashSlot(key: key.utf8)) { global = nil }
    }

    /// Whether all of them are still in a master's slots.
    func are(in slots: (HashSlot) -> Bool) -> Bool { self.slots.allSatisfy(slots) }

    /// The slots of all of them.
    var slots: [HashSlot] { (written + [latest] + (global.map { [$0] } ?? [])).map { HashSlot(key: $0.utf8) } }

    private static func bases(_ prefix: String) -> [String] {
        ["check", "user:~", "group:~", "global"].map { "\(prefix):\($0):heartbeat:" }
    }

    /// The text that begins so and ends with the first number that brings it into the slots.
    private static func text(_ base: String, in slots: (HashSlot) -> Bool) -> String? {
        var start = CRC16()
        start.update(Array(base.utf8))
        for number in numbers {
            let digits = String(number)
            var checksum = start
            checksum.update(Array(digits.utf8))
            if slots(HashSlot(checksum)) { return base + digits }
        }
        return nil
    }

    /// The budgets and memberships that are read before a call.
    var budgets: [String] {
        ["{\(windows[0])}:budget", "{\(windows[0])}:groups", "{\(windows[1])}:budget"]
    }
    /// The windows that the scripts of decisions write.
    var written: [String] { [check] + windows }
}
