import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService
@testable import RedisClient

/// Calls decided by the real `decide.lua` in a real Redis, under a clock that the test sets.
///
/// The script's only look at a clock, `call('TIME')`, is replaced by its last two arguments, and what tells it one server
/// from another by a number; nothing else of it changes.
struct DecidedCalls {
    let redis: RedisConnection
    private let digest: String

    static let script: String = {
        let clock = "call('TIME')"
        precondition(DecisionScript.text.ranges(of: clock).count == 1, "decide.lua must look at one clock")
        let text = DecisionScript.text.replacing(clock, with: "{ table.remove(ARGV, #ARGV - 1), table.remove(ARGV) }")
        return text.replacing(serverText, with: "('1')")
    }()

    private static let serverText: String = {
        let text = "tostring(call)"
        precondition(DecisionScript.text.ranges(of: text).count == 2, "decide.lua must know its server on each path")
        return text
    }()

    /// A script as it is run by another server than the first, which ``script`` is run by.
    static func onServer(_ number: Int, _ script: String = Self.script) -> String {
        script.replacing("('1')", with: "('\(number)')")
    }

    /// The same with all decided off the hot path.
    static let slowScript = offHotPath(script)

    /// A script as it decides off its hot path.
    static func offHotPath(_ script: String) -> String {
        let switched = script.replacing("local tries_hot_path = true", with: "local tries_hot_path = false")
        precondition(switched != script, "decide.lua must have a hot path")
        return switched
    }

    /// - Parameter script: ``script``, or one with a bug planted in it.
    init(_ redis: RedisConnection, script: String = Self.script) throws {
        self.redis = redis
        digest = try redis.command("SCRIPT", "LOAD", script).text ?? ""
        _ = try redis.command("FLUSHALL")
    }

    /// What the script answers to one call.
    enum Decided: Equatable {
        case decided(CallAnswer)
        /// It failed, alone; the error's text.
        case failed(String)
        /// It was passed over: a candidate before it ended the call.
        case passedOver
    }

    /// Decides a batch at once.
    ///
    /// - Parameter followed: the places of those behind which the call's next candidate stands.
    func decide(
        _ calls: [DecisionCall], followed: Set<Int> = [], clockMicroseconds: Int
    ) throws -> [Decided] {
        var batch = DecisionBatch()
        for (place, call) in calls.enumerated() where !batch.append(call, isFollowed: followed.contains(place)) {
            throw TestFailure("the batch is full")
        }
        var buffer = ByteBuffer()
        batch.write(digest: digest, withSource: false, to: &buffer)
        // The command with the clock as two more arguments.
        let bytes = buffer.readableBytesView
        let header = bytes.prefix { $0 != UInt8(ascii: "\r") }
        let count = try #require(Int(String(decoding: header.dropFirst(), as: UTF8.self)))
        let rest = bytes.dropFirst(header.count + 2)
        var command = ByteBuffer()
        command.writeRESPArray(count: count + 2)
        command.writeBytes(rest)
        command.writeRESPBulk(decimal: clockMicroseconds / 1_000_000)
        command.writeRESPBulk(decimal: clockMicroseconds % 1_000_000)
        let reply = try redis.command(encoded: Array(command.readableBytesView))
        return try calls.indices.map { index in
            if DecisionAnswer.isPassedOver(index, of: calls.count, in: Reply(reply)) { return .passedOver }
            let answer = DecisionAnswer(index, of: calls.count, in: Reply(reply))
            if let error = answer?.error { return .failed(error) }
            guard let decided = answer.flatMap({ calls[index].decided($0) }) else {
                throw UnexpectedReply(reply: reply)
            }
            return .decided(decided)
        }
    }

    /// Decides one call that must not fail.
    func decide(_ call: DecisionCall, clockMicroseconds: Int) throws -> CallAnswer {
        switch try decide([call], clockMicroseconds: clockMicroseconds)[0] {
        case .decided(let answer): return answer
        case .failed(let text): throw TestFailure(text)
        case .passedOver: throw TestFailure("a call that is alone was passed over")
        }
    }

    /// Lets every key expire whose time has come by the test's clock; Redis itself lets them live for the ten years that
    /// this is ahead.
    func expire(clockMicroseconds: Int) throws {
        let script = """
            for _, key in ipairs(redis.call('KEYS', '*')) do
              local expiry = redis.call('PEXPIRETIME', key)
              if expiry > 0 and expiry <= tonumber(ARGV[1]) then redis.call('DEL', key) end
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

/// The leases that a test has had, by names of its own: what their texts would say.
final class LeaseBook {
    private var instants: [String: LeaseInstants] = [:]

    private func number(_ name: String) -> UInt64 { name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) } }

    /// What a lease's text says of it now.
    func lease(_ name: String) -> DecisionID {
        .lease(LeaseMark(id: number(name), instants: instants[name] ?? .unknown))
    }

    /// The id of an operation: a lease's, a usage's or a check's, or none.
    func id(_ name: String, of operation: DecisionOperation) -> DecisionID? {
        switch operation {
        case .reset: nil
        case .dryReserve: nil
        case .check, .dryCheck: name.isEmpty ? nil : .check(UsageDigest(ofCheck: Array(name.utf8)))
        case .usage: name.isEmpty ? nil : .usage(UsageDigest(of: Array(name.utf8)))
        case .refund: name.isEmpty ? nil : .refund(UsageDigest(ofRefund: Array(name.utf8)))
        case .reserve, .renew, .settle, .release: lease(name)
        }
    }

    /// Takes note of what the answer to a reserve or renew says of a lease.
    func note(_ answer: CallAnswer, to operation: DecisionOperation, of name: String) {
        guard let own = answer.leaseInstants else { return }
        instants[name] = operation == .reserve ? own : instants[name]?.renewed(until: own)
    }
}
