import TestSupport
import Testing

@testable import RateLimitService

/// Several limits at once, leases and a clock that steps, on generated histories.
@Suite("Decisions over several limits, on generated histories")
struct DecidePropertyTests {
    private static let limits = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 1000), quota: 8, shares: [500, 1000]),
        ModelLimit(id: 2, subject: 0, window: .sliding(milliseconds: 60_000), quota: 90_000, shares: [10, 1000]),
        ModelLimit(
            id: 3, subject: 0, window: .sliding(milliseconds: 3000), isShadow: true, quota: 6, shares: [400, 800, 1000]),
        ModelLimit(id: 4, subject: 0, window: .day, quota: 40, shares: [100, 500, 800, 1000]),
        ModelLimit(id: 5, subject: 0, window: .concurrency, quota: 2),
        ModelLimit(id: 6, subject: 1, window: .sliding(milliseconds: 10_000), quota: 300, shares: [200, 1000]),
        ModelLimit(id: 7, subject: 1, window: .concurrency, isShadow: true, quota: 2),
        ModelLimit(id: 8, subject: 1, window: .day, quota: 5000, shares: [1, 5, 300, 1000]),
    ]

    private static let thousands = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 10_000), quota: 2_000_000, shares: [50, 1000]),
        ModelLimit(id: 2, subject: 0, window: .day, isShadow: true, quota: 100_000_000, shares: [1, 100, 1000]),
        ModelLimit(id: 3, subject: 1, window: .sliding(milliseconds: 3000), quota: 150_000, shares: [900, 1000]),
        ModelLimit(id: 4, subject: 1, window: .concurrency, quota: 8),
        ModelLimit(id: 5, subject: 1, window: .day, quota: 400_000_000_000),
    ]

    private static let needsRoom = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 1000), quota: 4, needsRoom: true),
        ModelLimit(id: 2, subject: 0, window: .sliding(milliseconds: 3000), isShadow: true, quota: 5, needsRoom: true),
        ModelLimit(id: 3, subject: 0, window: .concurrency, quota: 2, needsRoom: true),
        ModelLimit(id: 4, subject: 1, window: .day, quota: 20, needsRoom: true),
        ModelLimit(id: 5, subject: 1, window: .sliding(milliseconds: 5000), quota: 30),
    ]

    private static let long = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 20_000), quota: 3000, shares: [100, 500]),
        ModelLimit(
            id: 2, subject: 0, window: .sliding(milliseconds: 60_000), isShadow: true, quota: 60_000,
            shares: [5, 20, 1000]),
        ModelLimit(id: 3, subject: 1, window: .sliding(milliseconds: 5000), quota: 3000, shares: [50]),
    ]

    private static let manyLeases = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 60_000), quota: 2_000),
        ModelLimit(id: 2, subject: 0, window: .concurrency, quota: 40),
        ModelLimit(id: 3, subject: 1, window: .sliding(milliseconds: 5_000), isShadow: true, quota: 30),
        ModelLimit(id: 4, subject: 1, window: .concurrency, quota: 35),
    ]

    /// One that is alone under its key: what the plainest path of the script decides.
    private static let alone = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 2000), quota: 12, shares: [250, 500, 1000])
    ]

    /// What windows change to: lengths, and periods of several lengths and time zones.
    private static let changes: [ModelWindow] = [
        .sliding(milliseconds: 1000), .sliding(milliseconds: 2000), .sliding(milliseconds: 30_000),
        .calendar(seconds: 20), .calendar(seconds: 20, offset: 7), .calendar(seconds: 100, offset: 3), .day,
    ]

    /// Budgets of sessions that are idle for some seconds now and then.
    private static let lifetimes = [
        ModelLimit(id: 1, subject: 0, window: .lifetime(idleMilliseconds: 2_000), quota: 12, shares: [250, 1000]),
        ModelLimit(
            id: 2, subject: 0, window: .lifetime(idleMilliseconds: 3_000), quota: 90_000, shares: [1, 500, 1000]),
        ModelLimit(id: 3, subject: 0, window: .lifetime(idleMilliseconds: 1_000), isShadow: true, quota: 6),
        ModelLimit(id: 4, subject: 0, window: .concurrency, quota: 6),
        ModelLimit(id: 5, subject: 1, window: .lifetime(idleMilliseconds: 5_000), quota: 300, needsRoom: true),
        ModelLimit(id: 6, subject: 1, window: .sliding(milliseconds: 10_000), quota: 300),
    ]

    private static let lifetimeChanges: [ModelWindow] =
        [.lifetime(idleMilliseconds: 1_500), .lifetime(idleMilliseconds: 30_000)] + changes

    private static let longChanges: [ModelWindow] = [
        .sliding(milliseconds: 5000), .sliding(milliseconds: 20_000), .sliding(milliseconds: 60_000),
        .calendar(seconds: 20), .calendar(seconds: 60, offset: 11),
    ]

    /// Two seconds before a day ends, over and over.
    private static let beforeMidnight = 24_305 * 86_400_000_000 - 2_000_000

    /// Twenty seconds before an hour ends.
    private static let beforeHour = 24_305 * 86_400_000_000 + 3_580_000_000

    static let shapes: [(name: String, shape: CallShape)] = [
        ("limits of every kind", CallShape(limits: limits)),
        ("many calls at once", CallShape(limits: limits, batch: 12)),
        ("leases above all", CallShape(limits: limits, batch: 2, sharesOfLeases: 90)),
        ("costs in thousands", CallShape(limits: thousands)),
        ("limits that need room", CallShape(limits: needsRoom, batch: 3)),
        ("windows that change", CallShape(limits: limits, rareAdvance: 100_000_000, windows: changes)),
        ("keys that expire", CallShape(limits: limits, windows: changes, expires: true)),
        (
            "keys of short windows that expire",
            CallShape(limits: limits.filter { $0.window != .day }, usualAdvance: 4_000_000, expires: true)
        ),
        ("days that end", CallShape(limits: limits, start: beforeMidnight)),
        ("the turn of the clock's 48 bits", CallShape(limits: limits, start: WindowPropertyTests.beforeTurn)),
        (
            "windows that outgrow the bundle",
            CallShape(
                limits: long, steps: 1500, runs: 4, batch: 24, sharesOfLeases: 20, usualAdvance: 60_000,
                rareAdvance: 2_000_000, windows: longChanges, gathers: true)
        ),
        (
            "windows that outgrow the bundle, and keys that expire",
            CallShape(
                limits: long, steps: 1500, runs: 4, batch: 24, sharesOfLeases: 10, usualAdvance: 60_000,
                rareAdvance: 30_000_000, windows: longChanges, gathers: true, expires: true)
        ),
        (
            "leases that are forgotten",
            CallShape(
                limits: limits, sharesOfLeases: 90, rareAdvance: 30_000_000, rememberMilliseconds: 2_000)
        ),
        (
            "leases that are forgotten, and keys that expire",
            CallShape(
                limits: limits.filter { $0.window != .day }, sharesOfLeases: 90, rareAdvance: 30_000_000,
                rememberMilliseconds: 2_000, expires: true)
        ),
        ("more leases than the bundle has room for", CallShape(limits: manyLeases, steps: 300, sharesOfLeases: 95)),
        (
            "values of what calls say, beside the user",
            CallShape(
                limits: limits, start: beforeHour, steps: 200, runs: 40, batch: 3, rareAdvance: 60_000_000,
                values: (count: 8, subject: 1, most: 3))
        ),
        (
            "values of what calls say, that know of leases alone",
            CallShape(
                limits: limits, start: beforeHour, steps: 200, runs: 40, sharesOfLeases: 80, rareAdvance: 60_000_000,
                values: (count: 6, subject: 0, most: 2))
        ),
        (
            "values of what calls say, and keys that expire",
            CallShape(
                limits: limits.filter { $0.window != .day }, steps: 200, runs: 40, usualAdvance: 4_000_000,
                rareAdvance: 600_000_000, rememberMilliseconds: 20_000, expires: true,
                values: (count: 8, subject: 1, most: 4))
        ),
        (
            "one limit alone",
            CallShape(
                limits: alone, steps: 300, batch: 3, sharesOfLeases: 0, usualAdvance: 200_000, rareAdvance: 5_000_000)
        ),
        ("lifetimes", CallShape(limits: lifetimes, runs: 60, batch: 2, sharesOfLeases: 60)),
        (
            "lifetimes of values, and keys that expire",
            CallShape(
                limits: lifetimes, steps: 200, runs: 40, batch: 3, usualAdvance: 1_500_000, rareAdvance: 60_000_000,
                rememberMilliseconds: 1_000, expires: true, values: (count: 6, subject: 0, most: 3))
        ),
        (
            "lifetimes that become other windows, and others that become lifetimes",
            CallShape(limits: limits, runs: 60, rareAdvance: 100_000_000, windows: lifetimeChanges)
        ),
        (
            "lifetimes that become other windows, and keys that expire",
            CallShape(limits: limits, runs: 60, windows: lifetimeChanges, expires: true)
        ),
        (
            "windows that outgrow the bundle and become lifetimes",
            CallShape(
                limits: long, steps: 1500, runs: 4, batch: 24, sharesOfLeases: 20, usualAdvance: 60_000,
                rareAdvance: 2_000_000, windows: longChanges + [.lifetime(idleMilliseconds: 2_000)], gathers: true)
        ),
    ]

    private func smallest(
        _ shape: CallShape, runs: Int, script: String
    ) throws -> (history: [CallStep], failure: Failure)? {
        let server = try RedisServer()
        defer { server.end() }
        let redis = try server.connect()
        return try smallestFailure(runs: runs, maximumTries: 500, of: { shape.history(&$0) }) { history in
            var player = CallPlayer(try DecidedCalls(redis, script: script), shape)
            try player.play(history)
        }
    }

    @Test("The script decides as the model does, on its hot path and off it", arguments: shapes.indices)
    func model(_ index: Int) throws {
        let shape = Self.shapes[index].shape
        for script in [DecidedCalls.script, DecidedCalls.slowScript] {
            guard let found = try smallest(shape, runs: shape.runs, script: script) else { continue }
            Issue.record("seed \(found.failure.seed): \(found.failure.violation) in \(found.history)")
        }
    }

    /// A mistake that the script could have: the text it stands in, the shape whose histories show it, and whether it is
    /// on the hot path.
    struct PlantedBug: Sendable {
        var shape: Int
        var text: String
        var bug: String
        var isOnHotPath = false

        init(_ shape: Int, _ text: String, _ bug: String) {
            self.shape = shape
            self.text = text
            self.bug = bug
        }

        static func onHotPath(_ shape: Int, _ text: String, _ bug: String) -> PlantedBug {
            var planted = PlantedBug(shape, text, bug)
            planted.isOnHotPath = true
            return planted
        }
    }

    static let plantedBugs: [PlantedBug] = [
        // Charges what another limit has denied.
        PlantedBug(0, "ipairs(status == DONE and terms or {})", "ipairs(terms)"),
        // Notes the id of a check that was denied, or not that of one that was admitted.
        PlantedBug(0, "local looks = status ~= DONE or #terms == 0", "local looks = false"),
        PlantedBug(0, "local looks = status ~= DONE or #terms == 0", "local looks = true"),
        .onHotPath(0, "if not is_denied and (operation == USAGE or s > 0) then", "if true then"),
        .onHotPath(0, "(operation == USAGE or operation == CHECK) then", "operation == USAGE then"),
        // Lets a shadow limit deny; charges it where it would have denied.
        PlantedBug(0, "if waiting ~= 0 and not term.is_shadow then", "if waiting ~= 0 then"),
        PlantedBug(0, "if term.wait == 0 then charge", "if true then charge"),
        // Forgets what leases hold, or never gives it back.
        PlantedBug(0, "return term.total + held() + need > quota", "return term.total + need > quota"),
        PlantedBug(0, "math.max(0, section.held - amount)", "section.held"),
        .onHotPath(0, "counted + held + need > quota", "counted + need > quota"),
        .onHotPath(0, "held, part = held - amount, part + 10", "held, part = held, part + 10"),
        // Charges twice; charges a shadow limit that held nothing.
        PlantedBug(0, "if may_have_given(first, request.first_given, request.given) then", "if false then"),
        PlantedBug(0, "if holds(text) or holds(call('HGET', before, field)) then return true end", ""),
        PlantedBug(0, "and not (parts and term.is_shadow", "and not (false and term.is_shadow"),
        // Settles what it has forgotten; forgets what it has settled.
        PlantedBug(12, "if now_ms >= request.lapses + request.remember then return TOO_LATE end", ""),
        PlantedBug(
            12, "lease.lapses + remember > now_ms then return lease",
            "lease.lapses + 2 * remember > now_ms then return lease"),
        // Tells a wait before the lease lapses.
        PlantedBug(0, "parts) then return last - now_ms end", "parts) then return 1 end"),
        // Says that leases alone deny what has been charged, or that what they hold must leave the window.
        PlantedBug(0, "local least = until_room(quota - cost)", "local least = until_room(quota - cost - held)"),
        PlantedBug(0, "return free, least", "return free, 0"),
        // Forgets that the clock has stepped back, for windows or for leases, or that a day has ended.
        PlantedBug(8, "local now = math.max(redis_now, newest)", "local now = redis_now"),
        PlantedBug(2, "return math.max(now_ms, subject.freed) + life", "return now_ms + life"),
        .onHotPath(2, "or place or freed > now_ms then", "or place then"),
        .onHotPath(8, "if newest > redis_now then is_plain = false break end", ""),
        PlantedBug(0, "elseif newest >= term.start * 1000 then", "elseif true then"),
        .onHotPath(0, "if newest < period * 1000 then counted = 0 elseif", "if"),
        // Counts of a sliding window what was before the calendar's period.
        PlantedBug(5, "if counted > 0 and section.form ~= PLAIN then", "if false then"),
        .onHotPath(5, "if (form ~= PLAIN and total > 0) or now_ms", "if now_ms"),
        // Takes what a calendar has counted for an admission of now.
        PlantedBug(5, "section.newest % WRAP, term.total)", "now, term.total)"),
        // Keeps a reset limit's part of the leases.
        PlantedBug(0, "(id == limit or not limit) and amount < MOST and 0 or amount", "amount"),
        // Renews without a lease.
        PlantedBug(0, "if not found[j] or found[j].lapses <= subject.freed then", "if not found[j] then"),
        // Denies where there is just room, or charges for needing it.
        PlantedBug(4, "cost, need = 0, 1\n        elseif", "cost, need = 0, 2\n        elseif"),
        PlantedBug(4, "cost, need = 0, 1\n        elseif", "cost, need = 1, 1\n        elseif"),
        .onHotPath(4, "cost, need = 0, 1\n        else\n", "cost, need = 0, 0\n        else\n"),
        // Lets a key expire with the window charged last; with the leases that it held before.
        PlantedBug(
            6, "subject.expiry, subject.is_dirty = math.max(subject.expiry, ends), true",
            "subject.expiry, subject.is_dirty = ends, true"),
        .onHotPath(6, "if ends > expiry then expiry = ends end\n          states", "expiry = ends\n          states"),
        PlantedBug(7, "subject.expiry = math.max(subject.expiry, lapses + remember)", ""),
        // Lets leases that have lapsed stand, for ever or a millisecond longer.
        PlantedBug(
            0,
            "if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject, request.remember) end\n      for",
            "for"),
        PlantedBug(0, "subject.earliest <= now_ms then reap", "subject.earliest < now_ms then reap"),
        .onHotPath(0, "or (earliest > 0 and earliest <= now_ms)", ""),
        // Looks for lapsed leases too late; takes an id that another subject still knows for a new one.
        PlantedBug(2, "if subject.earliest == 0 or lapses < subject.earliest then", "if subject.earliest == 0 then"),
        .onHotPath(2, "if earliest == 0 or lapses < earliest then", "if earliest == 0 then"),
        PlantedBug(0, "if is_known(request, subjects) then", "if false then"),
        // Takes values into their set without a bound; forgets the one used last, or says nothing of it.
        PlantedBug(15, "if call('ZCARD', set) < bound then return has_displaced end", "do return false end"),
        PlantedBug(15, "local lowest = call('ZRANGE', set, 0, 0,", "local lowest = call('ZRANGE', set, -1, -1,"),
        PlantedBug(15, "subject.has_displaced = make_room", "make_room"),
        // Knows nothing of what was charged since, or of a lease that stands; leaves a bundle that it has forgotten.
        PlantedBug(15, "latest = math.max(latest, floor(section.newest / 1000))", "latest = latest"),
        PlantedBug(16, "subject.earliest > now_ms and now_ms or 0", "0"),
        PlantedBug(15, "drop(subject)\n      call('ZREM'", "call('ZREM'"),
        // Lets the set go while one of its bundles stands, or takes a new bundle into no set.
        PlantedBug(15, "floor(subject.expiry / HOUR) <= floor(subject.stood_until / HOUR)", "true"),
        .onHotPath(15, "if bound > 0 and floor(expiry / HOUR) > floor(stood_until / HOUR) then", "if false then"),
        // Forgets a value's windows with the user's and leaves it in the set for good, or does not forget them.
        PlantedBug(15, "if byte(key) ~= BRACE and (count == 0 or bound > 0) then", "if false then"),
        // Gives back more than is counted, or what it counts already; the oldest charge, or all of one of which a part is.
        PlantedBug(0, "amount = math.min(amount, term.total)\n    if", "if"),
        PlantedBug(0, "term.total - amount, section.total - amount, true", "term.total - amount, section.total, true"),
        PlantedBug(0, "unpack(format, all, (live - 1) * size + 1)", "unpack(format, all, 1)"),
        PlantedBug(0, "if charged > amount then rest = pack(format, time, charged - amount) end", ""),
        // Gives back twice for one id, or takes it for that of a usage; says that nothing was given back.
        PlantedBug(
            0, "if request.digest and notes(subjects[1], request.digest, request.remember) then",
            "if operation == USAGE and request.digest and notes(subjects[1], request.digest, request.remember) then"),
        PlantedBug(0, "term.is_charged = take_back(term, term.cost)", "take_back(term, term.cost)"),
        // Lets time go behind a charge that was given back; waits for a window that is empty.
        PlantedBug(
            0, "if live == 0 then section.form, section.oldest = PLAIN, 0 end",
            "if live == 0 then section.form, section.oldest, section.newest = PLAIN, 0, 0 end"),
        PlantedBug(0, "if term.total == 0 then term.reset = 0 end", ""),
        // Tells a threshold twice, or not, or of what leases hold.
        PlantedBug(
            0, "if first == 0 and amount > before then first = place end", "if first == 0 then first = place end"),
        PlantedBug(0, "if first > 0 then term.crossed", "if first > 1 then term.crossed"),
        PlantedBug(
            0, "if amount > term.total then break end", "if amount > term.total + term.section.held then break end"),
        PlantedBug(0, "tell(term, before)", "tell(term, before - 1)"),
        .onHotPath(0, "if first_crossed == 0 and amount > before then", "if first_crossed == 0 then"),
        .onHotPath(0, "if first_crossed > 0 then", "if first_crossed > 1 then"),
        .onHotPath(0, "if amount > total then break end", "if amount > total + held then break end"),
        .onHotPath(0, "if told then answer", "if told and s == 3 then answer"),
        .onHotPath(18, "plan[d + QUIET] = least - 1 end", "plan[d + QUIET] = least end"),
        // Tells it again after a refund, or never again once it was told in another period.
        PlantedBug(8, "section.oldest = math.max(section.oldest, section.total)", "section.oldest = 0"),
        PlantedBug(8, "if term.highest > term.total + cost then section.oldest = term.highest end", ""),
        PlantedBug(8, "local before = math.max(term.total, term.highest)", "local before = term.total"),
        .onHotPath(8, "elseif form == PLAIN then highest = oldest end", "end"),
        .onHotPath(8, "if highest > before then before = highest end", ""),
        .onHotPath(8, "if highest > counted + cost then oldest = highest end", ""),
        .onHotPath(8, "counted = 0 elseif form == PLAIN then highest = oldest end", "counted = 0 end highest = oldest"),
        // Lets a lifetime begin anew under leases, never, or a moment late.
        PlantedBug(19, "(now < stands_until or section.held > 0)", "now < stands_until"),
        PlantedBug(19, "(now < stands_until or section.held > 0)", "true"),
        .onHotPath(19, "if redis_now >= stands_until then", "if redis_now > stands_until then"),
        .onHotPath(19, "if (total > 0 or oldest > 0) and (held > 0 or operation == RESERVE) then", "if false then"),
        // Lets what a lease holds bring back what a lifetime counted before, or time go behind it.
        PlantedBug(
            19, "not term.stands and section.total + section.oldest > 0", "false"),
        PlantedBug(
            19, "section.oldest, section.total, section.newest = PLAIN, '', 0, 0, term.now",
            "section.oldest, section.total = PLAIN, '', 0, 0"),
        // Tells the wait for a window that leases keep; waits without them for what nothing but they keep.
        PlantedBug(
            19, "if held + cost <= quota and term.kind ~= LIFETIME then free", "if held + cost <= quota then free"),
        PlantedBug(19, "if term.reset <= 0 then term.reset = math.max(1, last_lapse(subject) - now_ms) end", ""),
        // Lets the key of a lifetime expire with the charge before.
        PlantedBug(20, "term.stop or ceil((term.now + term.window) / 1000)", "term.stop or section.ends"),
        .onHotPath(
            19, "if kind == CALENDAR then reset = ends - now_ms end",
            "reset = ends - now_ms"
        ),
        // Takes no more of a window that became a lifetime than its last charge.
        PlantedBug(
            21, "term.total, term.reset = counted, ceil((stands_until", "term.total, term.reset = 1, ceil((stands_until"
        ),
        // Tells a threshold again of a lifetime that goes on.
        PlantedBug(19, "if term.stands and section.form == PLAIN then term.highest", "if false then term.highest"),
        .onHotPath(19, "elseif form == PLAIN then\n            highest = oldest", "elseif false then"),
        // Settles another lease than the one that is meant.
        .onHotPath(2, "for _ = 1, place do record", "for _ = 2, place do record"),
    ]

    @Test("A bug planted in the script is caught, and shown by few steps", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let planted = Self.plantedBugs[index]
        let original = planted.isOnHotPath ? DecidedCalls.script : DecidedCalls.slowScript
        let script = original.replacing(planted.text, with: planted.bug)
        try #require(script != original, "\(planted.text) is not in the script")
        let found = try #require(
            try smallest(Self.shapes[planted.shape].shape, runs: 300, script: script),
            "nothing found wrong with \(planted.bug)")
        print("planted: \(planted.bug): shown in \(found.history.count) steps")
        #expect(found.history.count <= 12)
    }
}
