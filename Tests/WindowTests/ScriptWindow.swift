import RateLimitCore
import TestSupport

@testable import RateLimitService

/// One user's window in a real Redis, decided by the real `check.lua` under a clock that the test sets.
///
/// The script's only look at a clock, `call('TIME')`, is replaced by its last two arguments; nothing else of it changes.
struct ScriptWindow {
    private let redis: RedisConnection
    private let digest: String
    let key: String

    static let script: String = {
        let clock = "call('TIME')"
        precondition(CheckScript.text.components(separatedBy: clock).count == 2, "check.lua must look at one clock")
        return CheckScript.text.replacing(clock, with: "{ ARGV[#ARGV - 1], ARGV[#ARGV] }")
    }()

    /// - Parameter script: ``script``, or one with a bug planted in it.
    init(_ redis: RedisConnection, key: String = "llm-rate:window", script: String = Self.script) throws {
        self.redis = redis
        self.key = key
        digest = try redis.command("SCRIPT", "LOAD", script).text ?? ""
        _ = try redis.command("DEL", key)
    }

    func check(cost: Int, limit: Limit, clockMicroseconds: Int) throws -> Decision {
        let reply = try redis.command([
            "EVALSHA", digest, "1", key, "\(limit.quota)", "\(limit.windowMilliseconds)", "\(cost)",
            "\(clockMicroseconds / 1_000_000)", "\(clockMicroseconds % 1_000_000)",
        ])
        guard let retry = reply.elements.first?.integer, let used = reply.elements[1].integer,
            let reset = reply.elements[2].integer
        else { throw UnexpectedReply(reply: reply) }
        let verdict: Decision.Verdict =
            retry == 0 ? .allowed : (retry > 0 ? .denied(retryAfterMilliseconds: retry) : .deniedForGood)
        return Decision(verdict: verdict, quota: limit.quota, used: used, resetAfterMilliseconds: reset)
    }

    /// The key's bytes but for the window its expiry was set to (bytes 20 to 24); nil where there is no key.
    func stored() throws -> String? {
        guard try redis.command("EXISTS", key).integer == 1 else { return nil }
        return try "\(redis.command("GETRANGE", key, "0", "19")) \(redis.command("GETRANGE", key, "25", "-1"))"
    }

    func length() throws -> Int { try redis.command("STRLEN", key).integer ?? 0 }

    /// When Redis will expire the key, in milliseconds of its clock.
    func expiryMilliseconds() throws -> Int { try redis.command("PEXPIRETIME", key).integer ?? 0 }
}

struct UnexpectedReply: Error { var reply: RedisReply }

extension String {
    fileprivate func components(separatedBy text: String) -> [Substring] { split(separator: text) }
}
