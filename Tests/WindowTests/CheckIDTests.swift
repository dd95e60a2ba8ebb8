import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// Checks that carry an id, decided by the real script, on each of its paths.
@Suite("The ids of checks")
struct CheckIDTests {
    let start = WindowPropertyTests.start
    let server: RedisServer
    let book = LeaseBook()

    init() throws { server = try RedisServer() }

    /// The script as it is, and with all decided off its hot path.
    static let scripts = [DecidedCalls.script, DecidedCalls.slowScript]

    private func term(_ id: UInt32 = 1, quota: Int = 3, cost: Int = 1) -> LimitTerm {
        LimitTerm(id: id, kind: .sliding(windowMilliseconds: 60_000), quota: quota, cost: cost)
    }

    private func subject(_ key: String, _ terms: [LimitTerm]) -> SubjectTerms {
        SubjectTerms(key: Array(key.utf8), terms: terms)
    }

    private func decide(
        _ calls: DecidedCalls, _ operation: DecisionOperation = .check, id: String = "", remember: Int = 3_600_000,
        _ subjects: [SubjectTerms], at milliseconds: Int
    ) throws -> CallAnswer {
        let call = DecisionCall(
            operation, id: book.id(id, of: operation), rememberMilliseconds: remember, subjects: subjects)
        return try calls.decide(call, clockMicroseconds: start + milliseconds * 1000)
    }

    /// One window alone in its bundle, and several of two subjects.
    private var plans: [[SubjectTerms]] {
        [
            [subject("llm-rate:user", [term()])],
            [subject("llm-rate:user", [term(), term(2, quota: 9)]), subject("llm-rate:group:team", [term(3)])],
        ]
    }

    @Test(
        "A check that was admitted is repeated and charges nothing, also where its user is denied by now",
        arguments: scripts)
    func admitted(_ script: String) throws {
        for plan in plans {
            let calls = try DecidedCalls(server.connect(), script: script)
            #expect(try decide(calls, id: "a", plan, at: 0).verdict == .done)
            for at in 1...5 {
                let again = try decide(calls, id: "a", plan, at: at)
                #expect(again.verdict == .repeated && again.states.allSatisfy { $0.used == 1 && !$0.isDenied })
            }
            #expect(try decide(calls, id: "b", plan, at: 6).states[0].used == 2)
            #expect(try decide(calls, id: "", plan, at: 7).states[0].used == 3)
            guard case .denied = try decide(calls, id: "", plan, at: 8).verdict else { throw TestFailure("not denied") }
            let again = try decide(calls, id: "a", plan, at: 9)
            #expect(again.verdict == .repeated && again.states.allSatisfy { !$0.isDenied })
        }
        server.end()
    }

    @Test("A check that was denied is decided anew under its id, and charged when it is admitted", arguments: scripts)
    func denied(_ script: String) throws {
        for plan in plans {
            let calls = try DecidedCalls(server.connect(), script: script)
            for at in 0..<3 { #expect(try decide(calls, id: "\(at)", plan, at: at).verdict == .done) }
            for at in 3..<6 {
                guard case .denied = try decide(calls, id: "a", plan, at: at).verdict else {
                    throw TestFailure("not denied")
                }
            }
            // The first two have left the window.
            #expect(try decide(calls, id: "a", plan, at: 60_001).states[0].used == 2)
            #expect(try decide(calls, id: "a", plan, at: 60_001).verdict == .repeated)
        }
        server.end()
    }

    @Test("The id of a check is known for as long as that of a usage", arguments: scripts)
    func memory(_ script: String) throws {
        for plan in plans {
            let calls = try DecidedCalls(server.connect(), script: script)
            #expect(try decide(calls, id: "a", remember: 5_000, plan, at: 0).verdict == .done)
            #expect(try decide(calls, id: "a", remember: 5_000, plan, at: 4_999).verdict == .repeated)
            try calls.expire(clockMicroseconds: start + 5_000_000)
            #expect(try decide(calls, id: "a", remember: 5_000, plan, at: 5_000).states[0].used == 2)
        }
        server.end()
    }

    @Test("The ids of checks, of usage and of other users are others", arguments: scripts)
    func apart(_ script: String) throws {
        for plan in plans {
            let calls = try DecidedCalls(server.connect(), script: script)
            #expect(try decide(calls, id: "a", plan, at: 0).verdict == .done)
            #expect(try decide(calls, .usage, id: "a", plan, at: 1).states[0].used == 2)
            #expect(try decide(calls, .usage, id: "b", plan, at: 2).states[0].used == 3)
            #expect(try decide(calls, id: "a", plan, at: 3).verdict == .repeated)
            guard case .denied = try decide(calls, id: "b", plan, at: 4).verdict else {
                throw TestFailure("the id of a usage passes for that of a check")
            }
            let other = try decide(calls, id: "a", [subject("llm-rate:other", [term()])], at: 5)
            #expect(other.verdict == .done && other.states[0].used == 1)
        }
        server.end()
    }

    @Test("A check without a term says whether the id is known, and notes nothing", arguments: scripts)
    func looks(_ script: String) throws {
        let calls = try DecidedCalls(server.connect(), script: script)
        let bare = [subject("llm-rate:user", [])]
        for at in 0..<2 { #expect(try decide(calls, id: "a", bare, at: at).verdict == .done) }
        // Under a key of its own it begins the memory, so that the hot path looks as well.
        for (at, plan) in plans.enumerated() {
            #expect(try decide(calls, id: "\(at)", plan, at: 2 + at).verdict == .done)
            #expect(try decide(calls, id: "x", bare, at: 4 + at).verdict == .done)
            #expect(try decide(calls, id: "x", bare, at: 6 + at).verdict == .done)
            #expect(try decide(calls, id: "\(at)", bare, at: 8 + at).verdict == .repeated)
        }
        server.end()
    }
}
