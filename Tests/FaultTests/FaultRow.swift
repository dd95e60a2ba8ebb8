import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

/// What one row of the table says.
struct FaultFigures {
    var fault: Fault
    var checks: Int
    var degraded: Int
    /// Requests that got no answer because their connection was lost.
    var unanswered: Int
    /// Why Redis did not decide, each reason once.
    var reasons: Set<String>
    /// The longest answer, the time without a processor subtracted, in milliseconds.
    var slowestMilliseconds: Double
    /// How late the machine itself was in the same run, at worst, in milliseconds.
    var noiseMilliseconds: Double
    var audit: Audit
    /// From the end of the fault until the last answer that Redis did not decide, in milliseconds.
    var exactAfterMilliseconds: Double
    /// Lines of all daemons from the fault to the end.
    var logLines: Int
    /// Those of them that do not say that Redis is away or is back.
    var otherLogLines: Int

    /// Prints the row, and writes it where the environment says.
    func record() throws {
        print("fault: \(fault.rawValue): reasons \(reasons.sorted()) unanswered \(unanswered)")
        try FaultRecord(
            fault, checks: checks, degraded: degraded, slowestMilliseconds: slowestMilliseconds,
            noiseMilliseconds: noiseMilliseconds, deniedWrongly: audit.deniedWrongly, overLimit: audit.overLimit,
            exactAfterMilliseconds: exactAfterMilliseconds, logLines: logLines
        ).record()
    }
}

/// A fault in a running installation, and what is asserted of it.
struct FaultRow {
    var fault: Fault
    var daemons: [Daemon]
    /// Why Redis does not decide while the fault lasts, one of these at least; none where it always decides.
    var reasons: Set<String> = []
    /// Whether Redis forgets its counts.
    var forgets = false
    /// Whether connections to the daemon are lost, so that clients have to connect again.
    var losesConnections = false
    /// The most lines of all daemons that say something else than that Redis is away or is back.
    var logLines = 4
    /// How long the load runs before the fault.
    var leadMilliseconds = 400

    static let limit = 20
    /// Each asks for one decision after the other.
    private static let clients = 8

    /// Runs the load, injects the fault, removes it, waits until decisions are exact, and asserts what holds however slow
    /// the machine is. Times are figures for the table, and nothing is asserted of them: that nobody waits for the fault
    /// to end is shown by the answers that come before it is removed.
    ///
    /// - Parameters:
    ///   - inject: injects it and lasts as long as it shall.
    ///   - remove: removes it; the time until decisions are exact runs from its end.
    @discardableResult
    func run(inject: () throws -> Void, remove: () throws -> Void = {}) throws -> FaultFigures {
        let users = LoadUsers()
        let load = Load(
            on: daemons, clients: Self.clients, reference: try FaultMatrix.reference.get(), pauseMilliseconds: 6,
            reconnects: losesConnections, user: users.next
        )
        let injection = Result {
            pause(milliseconds: leadMilliseconds)
            let linesBefore = daemons.map { (all: $0.logLines.count, other: $0.logLines.count - $0.outageLines.count) }
            let start = monotonicMilliseconds()
            try inject()
            let isAnswered = losesConnections || load.hasAnswers(more: 2 * Self.clients)
            try remove()
            #expect(isAnswered, "\(fault): no answers while it lasts")
            let end = monotonicMilliseconds()
            let exactAt = try daemons.map(millisecondsWhenExact).max() ?? 0
            pause(milliseconds: 250)
            return (linesBefore: linesBefore, start: start, end: end, exactAfter: exactAt - end)
        }
        let result = try load.end()
        let (linesBefore, start, end, exactAfter) = try injection.get()
        let late = result.checks.filter { $0.isDegraded && $0.answeredAt > end }.map { $0.answeredAt - end }
        let figures = FaultFigures(
            fault: fault, checks: result.checks.count, degraded: result.checks.count { $0.isDegraded },
            unanswered: result.checks.count { $0.status == 0 },
            reasons: Set(result.checks.compactMap(\.degradedReason)),
            slowestMilliseconds: result.longestOwnMilliseconds, noiseMilliseconds: result.noiseMilliseconds,
            audit: Audit(result.checks, limit: Self.limit, forgets: forgets ? start...end : nil),
            exactAfterMilliseconds: max(exactAfter, late.max() ?? 0),
            // A daemon that was started again has a log that begins again.
            logLines: zip(daemons, linesBefore).reduce(0) { $0 + max(0, $1.0.logLines.count - $1.1.all) },
            otherLogLines: zip(daemons, linesBefore).reduce(0) { sum, both in
                sum + max(0, both.0.logLines.count - both.0.outageLines.count - both.1.other)
            }
        )
        try figures.record()
        try expect(figures)
        return figures
    }

    /// Asks on a connection of its own until Redis decides, and says when that was asked.
    private func millisecondsWhenExact(_ daemon: Daemon) throws -> Double {
        var client: HTTPConnection?
        var askedAt = 0.0
        let isExact = eventually(within: 60) {
            askedAt = monotonicMilliseconds()
            if client == nil { client = try? daemon.connect() }
            guard let answer = try? client?.check(newUser()) else {
                // Refused at the bound, perhaps, or cut off: the next one may be let in.
                client = nil
                return false
            }
            return !answer.isDegraded
        }
        #expect(isExact, "\(fault): never exact again; \(daemon.process.errors)")
        return askedAt
    }

    private func expect(_ figures: FaultFigures) throws {
        #expect(figures.audit.deniedWrongly == 0)
        #expect(figures.audit.overLimit == 0)
        // A machine that is later than the deadline by itself makes outages of its own: each has its two lines, and no
        // more than those.
        #expect(figures.otherLogLines <= logLines, "\(daemons.map(\.process.errors))")
        for daemon in daemons { #expect(daemon.saysOutagesOnce, "\(daemon.process.errors)") }
        #expect(losesConnections || figures.unanswered == 0)
        // The fault was there: else nothing has been shown.
        #expect(reasons.isEmpty || !figures.reasons.isDisjoint(with: reasons), "\(figures.reasons)")
        for daemon in daemons { try expectExact(daemon) }
    }

    /// A user's limit holds to the last one.
    private func expectExact(_ daemon: Daemon) throws {
        let client = try daemon.connect()
        let isExact = try eventually(within: 60) {
            let user = newUser()
            let answers = try (0..<30).map { _ in try client.check(user) }
            // A busy machine may make a decision late, and Redis be away for a moment; then another user tells.
            guard !answers.contains(where: \.isDegraded) else {
                pause(milliseconds: 100)
                return false
            }
            #expect(answers.count { $0.status == 200 } == Self.limit && answers.count { $0.status == 429 } == 10)
            return true
        }
        #expect(isExact)
    }
}
