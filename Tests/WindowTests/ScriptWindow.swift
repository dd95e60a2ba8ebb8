import RateLimitCore
import TestSupport

@testable import RateLimitService

/// One user's window in a real Redis, decided by the real script under a clock that the test sets.
struct ScriptWindow {
    private let calls: DecidedCalls
    let key = "llm-rate:window"
    private var longKey: String { "{\(key)}:w:00000007" }

    /// - Parameter script: ``DecidedCalls/script``, or one with a bug planted in it.
    init(_ redis: RedisConnection, script: String = DecidedCalls.script) throws {
        calls = try DecidedCalls(redis, script: script)
    }

    func check(cost: Int, limit: Limit, clockMicroseconds: Int) throws -> Decision {
        let term = LimitTerm(
            id: 7, kind: .sliding(windowMilliseconds: limit.windowMilliseconds), quota: limit.quota, cost: cost)
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

    /// The bytes of the bundle and the long window, but for when they end; nil where there is no key.
    func stored() throws -> String? {
        guard case .bulk(var bytes) = try calls.redis.command("GET", key) else { return nil }
        // The header is 27 bytes, with the key's expiry in six of them; a section's head is 38, with its end.
        bytes.replaceSubrange(15..<21, with: [0, 0, 0, 0, 0, 0])
        var head = 27
        for _ in 0..<bytes[1] {
            bytes.replaceSubrange(head + 26..<head + 32, with: [0, 0, 0, 0, 0, 0])
            head += 38 + Int(bytes[head + 5]) + Int(bytes[head + 6]) << 8
        }
        return try "\(bytes) \(calls.redis.command("GET", longKey))"
    }

    /// Bytes of all that is kept.
    func length() throws -> Int {
        try [key, longKey].reduce(0) { try $0 + (calls.redis.command("STRLEN", $1).integer ?? 0) }
    }

    /// When Redis will expire the key, in milliseconds of its clock.
    func expiryMilliseconds() throws -> Int { try calls.redis.command("PEXPIRETIME", key).integer ?? 0 }
}

struct UnexpectedReply: Error { var reply: RedisReply }
