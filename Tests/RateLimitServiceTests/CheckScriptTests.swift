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

@Suite("A batch of checks for Redis")
struct CheckScriptTests {
    private static let limit = Limit(name: "requests", quota: 20, windowMilliseconds: 3_600_000)

    /// The command that the batch must come to, as hiredis encodes it.
    private func expected(
        _ start: [String], prefix: String, limit: Limit, _ checks: [(user: SubjectID, cost: Int)]
    ) -> [UInt8] {
        let keys = checks.map { "\(prefix):\($0.user)" }
        let costs = checks.map { "\($0.cost)" }
        let words = start + ["\(checks.count)"] + keys + ["\(limit.quota)", "\(limit.windowMilliseconds)"] + costs
        return encodedByHiredis(words.map { Array($0.utf8) })
    }

    @Test("is the command that hiredis encodes", arguments: [1, 2, 3, 9, 16, 48, 64, 500])
    func encoding(_ count: Int) {
        var random = SeededGenerator(seed: UInt64(count))
        for prefix in ["llm-rate", "", "a:b{c}", "ключ", String(repeating: "p", count: 200)] {
            let limit = Limit(
                name: "requests", quota: Int.random(in: 1...1_000_000_000_000, using: &random),
                windowMilliseconds: Int.random(in: Limit.windows, using: &random)
            )
            var script = CheckScript(keyPrefix: prefix, limit: limit)
            script.digest = "0123456789abcdef0123456789abcdef01234567"
            let checks = (0..<count).map { _ in
                let cost = Bool.random(using: &random) ? 1 : Int.random(in: 0...1_000_000, using: &random)
                return (user: SubjectID(high: random.next(), low: random.next()), cost: cost)
            }
            for check in checks { script.append(check.user, cost: check.cost) }
            #expect(script.count == count)
            var buffer = ByteBuffer()
            script.write(inFull: false, to: &buffer)
            let words = ["EVALSHA", script.digest ?? ""]
            #expect(Array(buffer.readableBytesView) == expected(words, prefix: prefix, limit: limit, checks))
            #expect(script.count == 0)
        }
    }

    @Test("carries the whole script where asked to, and where Redis keeps none")
    func inFull() {
        let user = SubjectID(high: 1, low: 2)
        for (digest, inFull) in [("abc", true), (nil, false), (nil, true)] as [(String?, Bool)] {
            var script = CheckScript(keyPrefix: "llm-rate", limit: Self.limit)
            script.digest = digest
            script.append(user, cost: 5)
            var buffer = ByteBuffer()
            script.write(inFull: inFull, to: &buffer)
            let words = ["EVAL", CheckScript.text]
            #expect(
                Array(buffer.readableBytesView)
                    == expected(words, prefix: "llm-rate", limit: Self.limit, [(user, 5)]))
        }
    }

    @Test("begins anew after it was written, under the limit then in force")
    func again() {
        var script = CheckScript(keyPrefix: "llm-rate", limit: Self.limit)
        script.digest = "abc"
        var buffer = ByteBuffer()
        script.append(SubjectID(high: 1, low: 1), cost: 1)
        script.write(inFull: false, to: &buffer)
        buffer.clear()
        let limit = Limit(name: "requests", quota: 7, windowMilliseconds: 1_000)
        script.setLimit(limit)
        script.append(SubjectID(high: 2, low: 2), cost: 2)
        script.write(inFull: false, to: &buffer)
        #expect(
            Array(buffer.readableBytesView)
                == expected(["EVALSHA", "abc"], prefix: "llm-rate", limit: limit, [(SubjectID(high: 2, low: 2), 2)]))
    }
}

@Suite("The answer to a batch of checks")
struct CheckAnswerTests {
    @Test("is read for each of its checks")
    func answers() throws {
        let bytes =
            "*12\r\n:0\r\n:1\r\n:3600000\r\n:725000\r\n:20\r\n:3600000\r\n:-1\r\n:3\r\n:5\r\n$7\r\nERR bad\r\n:0\r\n:0\r\n"
        let reply = try reply(bytes)
        let decisions = (0..<3).map { index -> Decision? in
            guard case .decided(let decision)? = CheckScript.answer(index, of: 4, in: reply, quota: 20) else {
                return nil
            }
            return decision
        }
        #expect(
            decisions == [
                Decision(verdict: .allowed, quota: 20, used: 1, resetAfterMilliseconds: 3_600_000),
                Decision(
                    verdict: .denied(retryAfterMilliseconds: 725_000), quota: 20, used: 20,
                    resetAfterMilliseconds: 3_600_000
                ),
                Decision(verdict: .deniedForGood, quota: 20, used: 3, resetAfterMilliseconds: 5),
            ])
        guard case .failed(let text)? = CheckScript.answer(3, of: 4, in: reply, quota: 20) else {
            Issue.record("not failed")
            return
        }
        #expect(text == "ERR bad")
    }

    @Test("may hold an error in place of a check's number")
    func error() throws {
        let reply = try reply("*3\r\n-ERR no\r\n:0\r\n:0\r\n")
        guard case .failed("ERR no")? = CheckScript.answer(0, of: 1, in: reply, quota: 20) else {
            Issue.record("not failed")
            return
        }
    }

    @Test(
        "is none where it has not the script's form",
        arguments: [
            "+OK\r\n", ":0\r\n", "$-1\r\n", "*0\r\n", "*-1\r\n", "-ERR x\r\n", "*2\r\n:0\r\n:1\r\n",
            "*4\r\n:0\r\n:1\r\n:1\r\n:1\r\n", "*6\r\n:0\r\n:1\r\n:1\r\n:0\r\n:1\r\n:1\r\n",
            "*3\r\n$1\r\n0\r\n$1\r\n1\r\n:1\r\n",
            "*3\r\n:0\r\n:1\r\n$-1\r\n", "*3\r\n:0\r\n-ERR x\r\n:1\r\n", "*3\r\n$-1\r\n:0\r\n:0\r\n",
            "*3\r\n+OK\r\n:0\r\n:0\r\n", "*3\r\n*0\r\n:0\r\n:0\r\n", "*1\r\n*3\r\n:0\r\n:1\r\n:1\r\n",
            "*3\r\n:-2\r\n:0\r\n:0\r\n", "*3\r\n:0\r\n:-1\r\n:0\r\n", "*3\r\n:0\r\n:0\r\n:-5000\r\n",
            "*3\r\n:9223372036854775807\r\n:0\r\n:0\r\n", "*3\r\n:0\r\n:0\r\n:9223372036854775807\r\n",
        ])
    func wrongForm(_ text: String) throws {
        let reply = try reply(text)
        #expect(CheckScript.answer(0, of: 1, in: reply, quota: 20) == nil)
    }
}
