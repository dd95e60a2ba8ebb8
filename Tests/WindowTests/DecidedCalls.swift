import NIOCore
import RateLimitCore
import TestSupport

@testable import RateLimitService
@testable import RedisClient

/// Calls decided by the real `decide.lua` in a real Redis, under a clock that the test sets.
///
/// The script's only look at a clock, `call('TIME')`, is replaced by its last two arguments; nothing else of it changes.
struct DecidedCalls {
    let redis: RedisConnection
    private let digest: String

    static let script = DecideScript.text.replacing("call('TIME')", with: "{ ARGV[#ARGV - 1], ARGV[#ARGV] }")

    /// - Parameter script: ``script``, or one with a bug planted in it.
    init(_ redis: RedisConnection, script: String = Self.script) throws {
        precondition(Self.script != DecideScript.text, "decide.lua must look at a clock")
        self.redis = redis
        digest = try redis.command("SCRIPT", "LOAD", script).text ?? ""
        _ = try redis.command("FLUSHALL")
    }

    /// Decides a batch at once.
    func decide(_ calls: [DecisionCall], clockMicroseconds: Int) throws -> [ScriptAnswer<CallAnswer>] {
        var script = DecideScript()
        script.digest = digest
        for call in calls where !script.append(call) { throw TestFailure("the batch is full") }
        var buffer = ByteBuffer()
        script.write(inFull: false, to: &buffer)
        // The command with the clock as two more arguments.
        let rest = buffer.readableBytesView.drop { $0 != UInt8(ascii: "\n") }.dropFirst()
        let keys = calls.reduce(0) { $0 + $1.subjects.count }
        var command = ByteBuffer()
        command.writeRESPArray(count: 6 + keys + calls.count)
        command.writeBytes(rest)
        command.writeRESPBulk(decimal: clockMicroseconds / 1_000_000)
        command.writeRESPBulk(decimal: clockMicroseconds % 1_000_000)
        let reply = try redis.command(encoded: Array(command.readableBytesView))
        return try calls.indices.map { index in
            let answer = DecideScript.answer(index, of: calls.count, in: Reply(reply), to: calls[index])
            guard let answer else { throw UnexpectedReply(reply: reply) }
            return answer
        }
    }

    /// Decides one call that must not fail.
    func decide(_ call: DecisionCall, clockMicroseconds: Int) throws -> CallAnswer {
        switch try decide([call], clockMicroseconds: clockMicroseconds)[0] {
        case .decided(let answer): return answer
        case .failed(let text): throw TestFailure(text)
        }
    }

    /// Lets every key expire whose time has come by the test's clock; Redis itself lets them live for the ten years that
    /// this is ahead. The marks of dealt with ids live by Redis's own clock.
    func expire(clockMicroseconds: Int) throws {
        let script = """
            for _, key in ipairs(redis.call('KEYS', '*')) do
              local expiry = redis.call('PEXPIRETIME', key)
              if expiry > 0 and expiry <= tonumber(ARGV[1]) and not key:find(':seen:') then redis.call('DEL', key) end
            end
            """
        _ = try redis.command("EVAL", script, "0", "\(clockMicroseconds / 1000)")
    }

    /// The keys there are.
    func keys() throws -> [String] {
        try redis.command("KEYS", "*").elements.compactMap(\.text).sorted()
    }
}

extension Reply {
    /// The reply as the daemon's reader would have it.
    init(_ reply: RedisReply) {
        self.init()
        append(reply)
    }

    private mutating func append(_ reply: RedisReply) {
        func range(_ added: [UInt8]) -> Range<Int> {
            let start = bytes.count
            bytes += added
            return start..<bytes.count
        }
        switch reply {
        case .integer(let value): elements.append(.integer(value))
        case .bulk(let added): elements.append(.bulk(range(added)))
        case .status(let text): elements.append(.status(range(Array(text.utf8))))
        case .error(let text): elements.append(.error(range(Array(text.utf8))))
        case .null: elements.append(.null)
        case .array(let parts):
            elements.append(.array(count: parts.count))
            for part in parts { append(part) }
        }
    }
}

/// One sliding window in a bundle, for the properties that `check.lua` is held to.
struct BundledWindow: WindowUnderTest {
    private let calls: DecidedCalls
    private let key = "llm-rate:window"
    private let id: UInt32 = 7

    init(_ redis: RedisConnection, script: String = DecidedCalls.script) throws {
        calls = try DecidedCalls(redis, script: script)
    }

    func check(cost: Int, limit: Limit, clockMicroseconds: Int) throws -> Decision {
        let term = LimitTerm(
            id: id, kind: .sliding(windowMilliseconds: limit.windowMilliseconds), quota: limit.quota, cost: cost)
        let call = DecisionCall(.check, subjects: [SubjectTerms(key: Array(key.utf8), terms: [term])])
        let answer = try calls.decide(call, clockMicroseconds: clockMicroseconds)
        let verdict: Decision.Verdict =
            switch answer.verdict {
            case .done: .allowed
            case .denied(0, let retry): .denied(retryAfterMilliseconds: retry)
            case .deniedForGood(0): .deniedForGood
            default: throw TestFailure("answered \(answer)")
            }
        return Decision(
            verdict: verdict, quota: limit.quota, used: answer.states[0].used,
            resetAfterMilliseconds: answer.states[0].resetAfterMilliseconds)
    }

    /// The bytes of the bundle and the long window, but for when they end.
    func state() throws -> String? {
        guard case .bulk(var bytes) = try calls.redis.command("GET", key) else { return nil }
        for section in 0..<Int(bytes[1]) {
            let ends = 14 + 38 * section + 26
            bytes.replaceSubrange(ends..<ends + 6, with: [0, 0, 0, 0, 0, 0])
        }
        bytes.replaceSubrange(8..<14, with: [0, 0, 0, 0, 0, 0])
        return try "\(bytes) \(calls.redis.command("GET", "{\(key)}:w:00000007"))"
    }
}
