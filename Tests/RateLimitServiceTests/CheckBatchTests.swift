import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

/// A reply read from its bytes.
func reply(_ text: String) throws -> Reply {
    let reader = ReplyReader()
    let bytes = Array(text.utf8)
    try bytes.withUnsafeBytes { try reader.feed($0) }
    return try #require(try reader.next())
}

/// Nobody: what is told is not heard.
final class NoRequester: DecisionRequester {
    func deliver(_ outcome: Outcome, ticket: Int) {}
}

extension ScriptBatcher {
    /// Lays a check out.
    @discardableResult
    func append(_ user: SubjectID, cost: Int, at arrivedAt: NIODeadline = .distantPast) -> Bool {
        append(
            PendingRequest(check: user, cost: cost, ticket: 0, arrivedAt: arrivedAt, requester: NoRequester()))
    }

    /// The command that has been laid out.
    func written(withSource: Bool = false, at now: NIODeadline = .distantPast) -> [UInt8] {
        var buffer = ByteBuffer()
        write(withSource: withSource, at: now, memoryEpoch: 0, by: .direct, to: &buffer)
        return Array(buffer.readableBytesView)
    }
}

@Suite("A batch of checks for Redis")
struct CheckBatchTests {
    private static let limit = Limit(name: "requests", quota: 20, windowMilliseconds: 3_600_000)

    /// The command that the batch must come to, as hiredis encodes it.
    private func expected(
        _ start: [String], prefix: String, limit: Limit, _ checks: [(user: SubjectID, cost: Int)]
    ) -> [UInt8] {
        let words = start + ["\(checks.count)"] + checks.map { "\(prefix):\($0.user)" }
        // One plan, of one sliding window of the limit of checks, which each check names and gives its cost.
        let window = littleEndian(limit.windowMilliseconds, 5) + [UInt8](repeating: 0, count: 15)
        // A check may be the first to find that a lease has lapsed, which is remembered for an hour all the same.
        let plan =
            [1, 1, 0, 1] + littleEndian(0, 4) + littleEndian(3_600_000, 4) + [1, 0, 0, 0]
            + littleEndian(Int(LimitDefinition.requestsID), 4) + [0, 0] + window + littleEndian(limit.quota, 6)
            + [1] + littleEndian(0, 6)
        return encodedByHiredis(
            words.map { Array($0.utf8) }
                + [[UInt8](repeating: 0, count: checks.count), checks.flatMap { littleEndian($0.cost, 6) }, plan])
    }

    @Test("is the command that hiredis encodes", arguments: [1, 2, 3, 9, 16, 48, 64, 500])
    func encoding(_ count: Int) {
        var random = SeededGenerator(seed: UInt64(count))
        for prefix in ["llm-rate", "", "a:b{c}", "ключ", String(repeating: "p", count: 200)] {
            let limit = Limit(
                name: "requests", quota: Int.random(in: 1...1_000_000_000_000, using: &random),
                windowMilliseconds: Int.random(in: Limit.windows, using: &random)
            )
            let batcher = ScriptBatcher(keyPrefix: prefix, limit: limit)
            batcher.digest = "0123456789abcdef0123456789abcdef01234567"
            let checks = (0..<count).map { _ in
                let cost = Bool.random(using: &random) ? 1 : Int.random(in: 0...1_000_000, using: &random)
                return (user: SubjectID(high: random.next(), low: random.next()), cost: cost)
            }
            for check in checks { batcher.append(check.user, cost: check.cost) }
            #expect(batcher.unsentCount == count)
            let words = ["EVALSHA", batcher.digest ?? ""]
            #expect(batcher.written() == expected(words, prefix: prefix, limit: limit, checks))
            #expect(batcher.unsentCount == 0)
        }
    }

    @Test("carries the whole script where asked to, and where Redis keeps none")
    func withSource() {
        let user = SubjectID(high: 1, low: 2)
        for (digest, withSource) in [("abc", true), (nil, false), (nil, true)] as [(String?, Bool)] {
            let batcher = ScriptBatcher(keyPrefix: "llm-rate", limit: Self.limit)
            batcher.digest = digest
            batcher.append(user, cost: 5)
            let words = ["EVAL", DecisionScript.text]
            #expect(
                batcher.written(withSource: withSource)
                    == expected(words, prefix: "llm-rate", limit: Self.limit, [(user, 5)]))
        }
    }

    @Test("begins anew after it was written, under the limit then in force")
    func again() {
        let batcher = ScriptBatcher(keyPrefix: "llm-rate", limit: Self.limit)
        batcher.digest = "abc"
        batcher.append(SubjectID(high: 1, low: 1), cost: 1)
        _ = batcher.written()
        let limit = Limit(name: "requests", quota: 7, windowMilliseconds: 1_000)
        batcher.setLimit(limit)
        batcher.append(SubjectID(high: 2, low: 2), cost: 2)
        #expect(
            batcher.written()
                == expected(["EVALSHA", "abc"], prefix: "llm-rate", limit: limit, [(SubjectID(high: 2, low: 2), 2)]))
    }
}

@Suite("The answer to a batch of checks")
struct CheckAnswerTests {
    private func answer(_ status: UInt8, _ decider: Int, _ retry: Int, used: Int = 0, reset: Int = 0) -> [UInt8] {
        [status] + littleEndian(decider, 2) + littleEndian(retry, 6) + littleEndian(retry, 6) + littleEndian(used, 6)
            + littleEndian(reset, 6) + [0]
    }

    private func read(_ answers: [[UInt8]], _ index: Int) throws -> Decided? {
        let reader = ReplyReader()
        let bytes =
            Array("*\(answers.count)\r\n".utf8)
            + answers.flatMap { Array("$\($0.count)\r\n".utf8) + $0 + Array("\r\n".utf8) }
        try bytes.withUnsafeBytes { try reader.feed($0) }
        return Self.decided(index, of: answers.count, in: try #require(try reader.next()))
    }

    /// What an answer says.
    private enum Decided: Equatable {
        case decided(DecidedCheck)
        /// The check failed, alone; the error's text.
        case failed(String)
    }

    private static func decided(_ index: Int, of count: Int, in reply: Reply) -> Decided? {
        guard let answer = DecisionAnswer(index, of: count, in: reply) else { return nil }
        if let error = answer.error { return .failed(error) }
        return answer.check(quota: 20).map { .decided($0) }
    }

    @Test("is read for each of its checks")
    func answers() throws {
        let answers = [
            answer(0, 0, 0, used: 1, reset: 3_600_000), answer(1, 1, 725_000, used: 20, reset: 3_600_000),
            answer(2, 1, 0, used: 3, reset: 5), Array("!ERR bad".utf8),
        ]
        let decisions = [
            Decision(verdict: .allowed, quota: 20, used: 1, resetAfterMilliseconds: 3_600_000),
            Decision(
                verdict: .denied(retryAfterMilliseconds: 725_000), quota: 20, used: 20,
                resetAfterMilliseconds: 3_600_000),
            Decision(verdict: .deniedForGood, quota: 20, used: 3, resetAfterMilliseconds: 5),
        ]
        for (index, (decision, certain)) in zip(decisions, [0, 725_000, 0]).enumerated() {
            let decided = DecidedCheck(decision: decision, certainMilliseconds: certain)
            #expect(try read(answers, index) == .decided(decided))
        }
        #expect(try read(answers, 3) == .failed("ERR bad"))
    }

    @Test("is none where it contradicts itself, or is longer or shorter")
    func contradictory() throws {
        for bytes in [
            answer(0, 1, 0), answer(0, 0, 1), answer(1, 0, 1), answer(1, 2, 1), answer(1, 1, 0), answer(2, 1, 1),
            answer(2, 0, 0), answer(3, 1, 1), answer(4, 0, 0), answer(5, 0, 0), answer(6, 0, 0), answer(255, 0, 0),
            Array(answer(0, 0, 0).dropLast()), answer(0, 0, 0) + [0], Array(answer(0, 0, 0).prefix(15)),
        ] {
            #expect(try read([bytes], 0) == nil)
        }
    }

    @Test(
        "is none where the reply has not the script's form",
        arguments: [
            "+OK\r\n", ":0\r\n", "$-1\r\n", "*0\r\n", "*-1\r\n", "-ERR x\r\n", "*1\r\n:0\r\n", "*1\r\n$-1\r\n",
            "*1\r\n$0\r\n\r\n", "*1\r\n-ERR x\r\n", "*1\r\n+OK\r\n", "*1\r\n*0\r\n", "*1\r\n*1\r\n$1\r\n!\r\n",
            "*2\r\n$1\r\n!\r\n$1\r\n!\r\n",
        ])
    func wrongForm(_ text: String) throws {
        let reply = try reply(text)
        for index in -1...1 { #expect(Self.decided(index, of: 1, in: reply) == nil) }
    }
}
