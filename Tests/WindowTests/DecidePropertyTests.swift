import TestSupport
import Testing

@testable import RateLimitService

/// Several limits at once, leases and a clock that steps, on generated histories.
@Suite("Decisions over several limits, on generated histories")
struct DecidePropertyTests {
    private static let limits = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 1000), quota: 8),
        ModelLimit(id: 2, subject: 0, window: .sliding(milliseconds: 60_000), quota: 90_000),
        ModelLimit(id: 3, subject: 0, window: .sliding(milliseconds: 3000), isShadow: true, quota: 6),
        ModelLimit(id: 4, subject: 0, window: .day, quota: 40),
        ModelLimit(id: 5, subject: 0, window: .concurrency, quota: 2),
        ModelLimit(id: 6, subject: 1, window: .sliding(milliseconds: 10_000), quota: 300),
        ModelLimit(id: 7, subject: 1, window: .concurrency, isShadow: true, quota: 2),
        ModelLimit(id: 8, subject: 1, window: .day, quota: 5000),
    ]

    private static let thousands = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 10_000), quota: 2_000_000),
        ModelLimit(id: 2, subject: 0, window: .day, isShadow: true, quota: 100_000_000),
        ModelLimit(id: 3, subject: 1, window: .sliding(milliseconds: 3000), quota: 150_000),
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
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 20_000), quota: 3000),
        ModelLimit(id: 2, subject: 0, window: .sliding(milliseconds: 60_000), isShadow: true, quota: 60_000),
        ModelLimit(id: 3, subject: 1, window: .sliding(milliseconds: 5000), quota: 3000),
    ]

    /// What windows change to: lengths, and periods of several lengths and time zones.
    private static let changes: [ModelWindow] = [
        .sliding(milliseconds: 1000), .sliding(milliseconds: 2000), .sliding(milliseconds: 30_000),
        .calendar(seconds: 20), .calendar(seconds: 20, offset: 7), .calendar(seconds: 100, offset: 3), .day,
    ]

    private static let longChanges: [ModelWindow] = [
        .sliding(milliseconds: 5000), .sliding(milliseconds: 20_000), .sliding(milliseconds: 60_000),
        .calendar(seconds: 20), .calendar(seconds: 60, offset: 11),
    ]

    /// Two seconds before a day ends, over and over.
    private static let beforeMidnight = 24_305 * 86_400_000_000 - 2_000_000

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
    ]

    private func smallest(
        _ shape: CallShape, runs: Int, script: String
    ) throws -> (history: [CallStep], failure: Failure)? {
        let server = try RedisServer()
        defer { server.end() }
        let redis = try server.connect()
        return try smallestFailure(runs: runs, maximumTries: 350, of: { shape.history(&$0) }) { history in
            var player = CallPlayer(try DecidedCalls(redis, script: script), shape)
            try player.play(history)
        }
    }

    @Test("The script decides as the model does", arguments: shapes.indices)
    func model(_ index: Int) throws {
        let shape = Self.shapes[index].shape
        guard let found = try smallest(shape, runs: shape.runs, script: DecidedCalls.script) else { return }
        Issue.record("seed \(found.failure.seed): \(found.failure.violation) in \(found.history)")
    }

    /// Mistakes that decide.lua could have, each by the text it stands in and the shape whose histories show it.
    static let plantedBugs: [(shape: Int, text: String, bug: String)] = [
        // Charges what another limit has denied.
        (0, "for i = 1, status == 0 and terms or 0 do", "for i = 1, terms do"),
        // Lets a shadow limit deny; charges it where it would have denied.
        (0, "if waiting ~= 0 and not rules[i].shadow then", "if waiting ~= 0 then"),
        (0, "if costs[i] > 0 and waits[i] == 0 then charge", "if costs[i] > 0 then charge"),
        // Forgets what leases hold, or never gives it back.
        (0, "if totals[i] + held + cost > quota", "if totals[i] + cost > quota"),
        (0, "subject.heads[8 * k - 3] - amount", "subject.heads[8 * k - 3]"),
        // Charges twice; charges a shadow limit that held nothing.
        (0, "if id ~= '' and call('EXISTS', mark) == 1 then return 5 end", ""),
        (0, "and not (record and rules[i].shadow", "and not (false and rules[i].shadow"),
        // Tells a wait before the lease lapses.
        (0, "if amount <= 0 then return tonumber(lease[2]) - now_ms end", "if amount <= 0 then return 1 end"),
        // Says that leases alone deny what has been charged, or that what they hold must leave the window.
        (0, "local least = until_room(i, quota - cost)", "local least = until_room(i, quota - cost - held)"),
        (0, "return free, least", "return free, 0"),
        // Forgets that the clock has stepped back, or that a day has ended.
        (8, "if newest > now then now, time = newest, newest / 1000 end", ""),
        (0, "if newest >= start * 1000 then total", "if true then total"),
        // Counts of a sliding window what was before the calendar's period.
        (5, "heads[at + 2] ~= CALENDAR then total = remaining", "false then total = remaining"),
        // Takes what a calendar has counted for an admission of now.
        (
            5, "pack('<I6I6', heads[at + 6] % WRAP, heads[at + 4]), 0",
            "pack('<I6I6', redis_now % WRAP, heads[at + 4]), 0"
        ),
        // Keeps a reset limit's part of the leases.
        (0, "if kept ~= record then", "if false then"),
        // Renews without a lease.
        (0, "if not has_lease(seen[j], id) then return 4 end", ""),
        // Denies where there is just room, or charges for needing it.
        (4, "cost = rule.floor", "cost = 2 * rule.floor"),
        (
            4, "if asks and cost < 1 then cost = rule.floor end",
            "if asks and cost < 1 then cost = rule.floor costs[i] = cost end"
        ),
        // Lets a key expire with the window charged last; with the leases that it held before.
        (6, "if ends > subject.expiry then subject.expiry = ends end", "subject.expiry = ends"),
        (6, "if expiry > subject.expiry then subject.expiry = expiry end", ""),
        // Lets leases that have lapsed stand, for ever or a millisecond longer.
        (0, "if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject) end", ""),
        (0, "subject.earliest <= now_ms then reap(subject)", "subject.earliest < now_ms then reap(subject)"),
        // Looks for lapsed leases too late; takes an id that another subject still knows for a new one.
        (2, "if subject.earliest == 0 or expiry < subject.earliest then", "if subject.earliest == 0 then"),
        (2, "for j = 1, #seen do\n    if has_lease(seen[j], id)", "for j = 1, 1 do\n    if has_lease(seen[j], id)"),
    ]

    @Test("A bug planted in the script is caught, and shown by few steps", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let (shape, text, bug) = Self.plantedBugs[index]
        let script = DecidedCalls.script.replacing(text, with: bug)
        try #require(script != DecidedCalls.script)
        let found = try #require(
            try smallest(Self.shapes[shape].shape, runs: 300, script: script), "nothing found wrong with \(bug)")
        print("planted: \(bug): shown in \(found.history.count) steps")
        #expect(found.history.count <= 12)
    }
}
