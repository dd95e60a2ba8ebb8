import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// Which call `decide.lua` tells of the thresholds that it crosses, under a clock that the test sets. `DecidePropertyTests`
/// holds it to a model on generated histories.
@Suite("A threshold is told", .serialized)
struct CrossingTests {
    private let start = WindowPropertyTests.start
    private let server: RedisServer
    private let key = Array("llm-rate:user".utf8)
    private let book = LeaseBook()

    init() throws { server = try RedisServer() }

    /// A limit of 100, of which half and all are told.
    private func term(_ window: ModelWindow, _ cost: Int, at now: Int, quota: Int = 100) -> LimitTerm {
        LimitTerm(
            id: 7, kind: window.kind(clockMicroseconds: start + now), quota: quota, cost: cost,
            thresholds: [quota / 2, quota])
    }

    /// Does these one after the other, on the hot path and off it, and says what each of them is told.
    private func told(
        _ steps: [(DecisionOperation, Int, at: Int)], of window: ModelWindow = .sliding(milliseconds: 1_000),
        quota: (Int) -> Int = { _ in 100 }
    ) throws -> [[Int]] {
        let ways = try [DecidedCalls.script, DecidedCalls.slowScript].map { script in
            let calls = try DecidedCalls(server.connect(), script: script)
            return try steps.enumerated().map { index, step in
                let term = term(window, step.1, at: step.at, quota: quota(index))
                let call = DecisionCall(
                    step.0, id: [.reserve, .settle, .release].contains(step.0) ? book.lease("a") : nil,
                    subjects: [SubjectTerms(key: key, terms: [term])])
                let answer = try calls.decide(call, clockMicroseconds: start + step.at)
                book.note(answer, to: step.0, of: "a")
                for crossing in answer.crossings {
                    #expect(crossing.term == 0 && crossing.unixMilliseconds == (start + step.at) / 1000)
                    #expect(crossing.used >= term.thresholds[crossing.thresholds.upperBound])
                }
                return answer.crossings.flatMap { $0.thresholds.map { term.thresholds[$0] } }
            }
        }
        #expect(ways[0] == ways[1])
        return ways[0]
    }

    @Test("to the one call that brings what is charged from below it to it, and several to one that crosses several")
    func once() throws {
        #expect(
            try told([(.check, 49, at: 0), (.check, 1, at: 1), (.check, 1, at: 2), (.usage, 60, at: 3)]) == [
                [], [50], [], [100],
            ])
        #expect(try told([(.usage, 300, at: 0), (.usage, 1, at: 1)]) == [[50, 100], []])
        #expect(
            try told([(.check, 50, at: 0), (.check, 51, at: 1), (.check, 50, at: 2)], of: .day) == [[50], [], [100]])
        server.end()
    }

    @Test("by what is settled, and not by what is held, released or looked at")
    func held() throws {
        for window in [ModelWindow.sliding(milliseconds: 1_000), .day] {
            let steps: [(DecisionOperation, Int, at: Int)] = [
                (.check, 40, at: 0), (.reserve, 60, at: 1), (.check, 0, at: 2), (.settle, 11, at: 3),
                (.reserve, 49, at: 4),
                (.release, 0, at: 5), (.check, 49, at: 6),
            ]
            #expect(try told(steps, of: window) == [[], [], [], [50], [], [], [100]])
        }
        server.end()
    }

    @Test("again in a sliding window when less counts, whether that has left it or was given back")
    func fallen() throws {
        let steps: [(DecisionOperation, Int, at: Int)] = [
            (.check, 30, at: 0), (.check, 30, at: 500_000), (.check, 19, at: 1_000_000), (.check, 1, at: 1_000_001),
            (.refund, 1, at: 1_000_002), (.check, 1, at: 1_000_003),
        ]
        #expect(try told(steps) == [[], [50], [], [50], [], [50]])
        server.end()
    }

    @Test("once in a calendar's period, also after a refund and where the clock steps back, and again in the next")
    func periods() throws {
        let window = ModelWindow.calendar(seconds: 100, offset: start / 1_000_000 % 100)
        let steps: [(DecisionOperation, Int, at: Int)] = [
            (.check, 60, at: 0), (.refund, 60, at: 1), (.check, 55, at: 2), (.check, 45, at: 3), (.refund, 20, at: 4),
            (.usage, 19, at: 5), (.usage, 2, at: 6), (.usage, 60, at: 100_000_000), (.refund, 50, at: 100_000_001),
            (.usage, 41, at: 99_999_999), (.usage, 50, at: 100_000_002),
        ]
        #expect(
            try told(steps, of: window) == [[50], [], [], [100], [], [], [], [50], [], [], [100]])
        server.end()
    }

    @Test("at the new amounts where the quota is raised, and of one that was lowered below what counts by no call")
    func changedQuota() throws {
        let steps: [(DecisionOperation, Int, at: Int)] = [
            (.usage, 90, at: 0), (.usage, 10, at: 1), (.usage, 100, at: 2), (.usage, 1, at: 3), (.usage, 1, at: 4),
        ]
        let quotas = [100, 200, 200, 100, 404]
        #expect(try told(steps) { quotas[$0] } == [[50], [100], [200], [], [202]])
        server.end()
    }
}
