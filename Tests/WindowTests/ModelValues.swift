import RateLimitCore

@testable import RateLimitService

/// The values that a user's calls have said, and how many of them there may be: what `decide-values.lua` keeps.
///
/// The model has one of them before it, the current one. The others stand here until they are said again.
struct ModelValues {
    /// Of one value: what its limits count, by limit, and what is known of its leases.
    struct Kept {
        var logs: [Int: ModelLog] = [:]
        var memory = DecideModel.Memory()
    }

    static let looks = 16

    /// The subject that each value has one of.
    let subject: Int
    let most: Int
    var current = 0
    var kept: [Int: Kept] = [:]
    /// When each value in the set was last known to be used, in milliseconds.
    var known: [Int: Int] = [:]

    /// The value that was used longest ago, as far as that is known. The values have one digit: so Redis orders them too.
    fileprivate var idlest: (value: Int, since: Int)? {
        known.min { ($0.value, $0.key) < ($1.value, $1.key) }.map { ($0.key, $0.value) }
    }

    /// When a value was last used; nil where nothing is kept of it.
    fileprivate func lastUse(_ value: Int, at now: Int) -> Int? {
        guard let kept = kept[value], kept.memory.standsUntil > 0 else { return nil }
        let charged = kept.logs.values.map { $0.newest / 1000 }.max() ?? 0
        return max(charged, kept.memory.earliest > now ? now : 0)
    }

    /// Takes the current value into the set; whether another one went for that.
    fileprivate mutating func register(at now: Int) -> Bool {
        known[current] = nil
        var displaced: [Int] = []
        var idle: [Int: Int] = [:]
        for _ in 0..<Self.looks where known.count >= most {
            guard let (value, since) = idlest else { break }
            guard let used = lastUse(value, at: now) else {
                known[value] = nil
                continue
            }
            if used <= since { displaced.append(value) } else { idle[value] = used }
            known[value] = used <= since ? nil : used
        }
        for value in displaced { idle[value] = nil }
        if known.count >= most, let longest = idle.min(by: { ($0.value, $0.key) < ($1.value, $1.key) }) {
            displaced.append(longest.key)
        }
        for value in displaced { (kept[value], known[value]) = (nil, nil) }
        known[current] = now
        return !displaced.isEmpty
    }
}

extension DecideModel {
    private var limitsOfValues: [Int] { limits.indices.filter { limits[$0].subject == values?.subject } }

    /// What is kept of each value, also of the current one.
    var keptValues: [Int: ModelValues.Kept] {
        guard let values else { return [:] }
        var kept = values.kept
        kept[values.current] = ModelValues.Kept(
            logs: Dictionary(uniqueKeysWithValues: limitsOfValues.map { ($0, logs[$0]) }),
            memory: memories[values.subject])
        return kept.filter { $0.value.memory.standsUntil > 0 }
    }

    /// From now on calls say this value.
    mutating func say(_ value: Int) { replaceValues(by: keptValues, current: value) }

    /// Forgets what Redis has let expire.
    mutating func expireValues(clock: Int) {
        guard let current = values?.current else { return }
        replaceValues(by: keptValues.filter { $0.value.memory.standsUntil > clock / 1000 }, current: current)
    }

    private mutating func replaceValues(by kept: [Int: ModelValues.Kept], current: Int) {
        guard var values else { return }
        values.current = current
        values.kept = kept
        let own = values.kept.removeValue(forKey: current) ?? ModelValues.Kept()
        self.values = values
        for limit in limitsOfValues { logs[limit] = own.logs[limit] ?? ModelLog() }
        memories[values.subject] = own.memory
    }

    /// Takes the current value into the set, where it has begun or stands into another hour; whether another went for it.
    mutating func registerValue(stoodUntil: Int, clock: Int) -> Bool {
        guard let subject = values?.subject else { return false }
        let hour = 3_600_000
        let until = memories[subject].standsUntil
        guard until > 0, stoodUntil == 0 || until / hour > stoodUntil / hour else { return false }
        return values?.register(at: clock / 1000) ?? false
    }

    /// Forgets what all values count. Those that know of leases stay.
    mutating func forgetAllValues(clock: Int) {
        guard let values else { return }
        var kept = keptValues
        for (value, _) in values.known {
            guard var own = kept[value], own.memory.began != nil else {
                kept[value] = nil
                self.values?.known[value] = nil
                continue
            }
            own.logs = [:]
            own.memory.lapse(at: clock / 1000, rememberMilliseconds: rememberMilliseconds)
            for (id, lease) in own.memory.leases {
                own.memory.leases[id]?.held = lease.held.mapValues { _ in 0 }
            }
            kept[value] = own
            self.values?.known[value] = clock / 1000
        }
        replaceValues(by: kept, current: values.current)
    }
}
