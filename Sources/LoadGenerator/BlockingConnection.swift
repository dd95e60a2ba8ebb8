import Glibc

/// One connection for the preparation of a load: a request, then its answer. Every wait ends after 5 seconds.
final class BlockingConnection {
    let endpoint: Endpoint
    let descriptor: Int32
    private var buffer = [UInt8](repeating: 0, count: 65_536)

    init(to endpoint: Endpoint) throws(LoadError) {
        self.endpoint = endpoint
        descriptor = try endpoint.connect()
    }

    deinit {
        close(descriptor)
    }

    /// Sends a request and hands the received bytes to `read` until that returns something: nil asks for more bytes.
    func exchange<Answer>(
        _ request: [UInt8], read: (UnsafeBufferPointer<UInt8>) throws(LoadError) -> Answer?
    ) throws(LoadError) -> Answer {
        try send(request)
        var filled = 0
        while filled < buffer.count {
            let count = buffer.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress! + filled, $0.count - filled, 0)
            }
            if count < 0, errno == EINTR { continue }
            if count == 0 { throw .connectionsLost(target: endpoint.description, count: 1) }
            if count < 0 { throw failure("receive") }
            filled += count
            if let answer = try Self.read(buffer, upTo: filled, with: read) { return answer }
        }
        throw .malformedAnswer(target: endpoint.description)
    }

    private static func read<Answer>(
        _ buffer: [UInt8], upTo filled: Int, with read: (UnsafeBufferPointer<UInt8>) throws(LoadError) -> Answer?
    ) throws(LoadError) -> Answer? {
        try buffer.withUnsafeBufferPointer { bytes throws(LoadError) in
            try read(UnsafeBufferPointer(rebasing: bytes[..<filled]))
        }
    }

    private func send(_ request: [UInt8]) throws(LoadError) {
        var sent = 0
        while sent < request.count {
            let count = request.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            if count < 0 { throw failure("send") }
            sent += count
        }
    }

    private func failure(_ call: String) -> LoadError {
        let code = errno
        if code == EAGAIN { return .noAnswer(target: endpoint.description) }
        return .system(call: "\(call) at \(endpoint)", reason: systemReason(code))
    }
}

/// A connection to Redis for what a load needs beside the load itself: scripts, statistics, an empty database.
public final class RedisSession {
    private let connection: BlockingConnection

    /// Connects; the connection closes with the session.
    public init(to endpoint: Endpoint) throws(LoadError) {
        connection = try BlockingConnection(to: endpoint)
    }

    /// Sends a command and waits for its answer, at most 64 KiB and 5 seconds.
    ///
    /// - Returns: the answer, or of an array the first element that is not one; empty for nil.
    @discardableResult
    public func command(_ arguments: String...) throws(LoadError) -> String {
        try command(arguments.map { Array($0.utf8) })
    }

    private func command(_ arguments: [[UInt8]]) throws(LoadError) -> String {
        let target = connection.endpoint.description
        let request = RequestTemplate(command: arguments).bytes
        return try connection.exchange(request) { bytes throws(LoadError) -> String? in
            switch scanRedisAnswer(bytes) {
            case .incomplete: return nil
            case .malformed: throw .malformedAnswer(target: target)
            case .answer(_, .error(let range)):
                throw .redisError(target: target, answer: String(decoding: bytes[range], as: UTF8.self))
            case .answer(_, .text(let range)): return String(decoding: bytes[range], as: UTF8.self)
            case .answer(_, .integer(let value)): return String(value)
            case .answer(_, nil): return ""
            }
        }
    }

    /// Loads a Lua script and returns the name EVALSHA knows it by.
    public func load(script: String) throws(LoadError) -> String {
        try command("SCRIPT", "LOAD", script)
    }

    /// One field of INFO, as `process_id` of section `server`; nil where Redis does not tell.
    public func information(_ field: String, section: String) throws(LoadError) -> String? {
        let prefix = field + ":"
        let line = try command("INFO", section).split(whereSeparator: \.isNewline).first { $0.hasPrefix(prefix) }
        return line.map { String($0.dropFirst(prefix.count)) }
    }

    /// The process id of Redis; of use only where Redis runs on this machine and in this process namespace.
    public func processID() throws(LoadError) -> Int32? {
        try information("process_id", section: "server").flatMap { Int32($0) }
    }

    /// How many calls of scripts (EVALSHA and EVAL) Redis has answered since its statistics were last reset.
    public func scriptCalls() throws(LoadError) -> Int {
        var sum = 0
        for name in ["evalsha", "eval"] {
            guard let field = try information("cmdstat_\(name)", section: "commandstats"),
                let calls = field.split(separator: ",").first, calls.hasPrefix("calls=")
            else { continue }
            sum += Int(calls.dropFirst("calls=".count)) ?? 0
        }
        return sum
    }

    /// How many bytes Redis uses, but for those of its clients.
    public func dataBytes() throws(LoadError) -> Int {
        func bytes(_ field: String) throws(LoadError) -> Int {
            try information(field, section: "memory").flatMap { Int($0) } ?? 0
        }
        return try bytes("used_memory") - bytes("mem_clients_normal")
    }

    /// How many keys the database has.
    public func keyCount() throws(LoadError) -> Int { Int(try command("DBSIZE")) ?? 0 }

    /// Uses up the budget of the denied user, by one check that costs the whole limit.
    public func exhaustDeniedUser(of mix: CheckMix, script: CheckScript) throws(LoadError) {
        let key = script.keyPrefix + mix.deniedUser[0]
        let words = ["EVALSHA", script.sha, "1", key].map { Array($0.utf8) }
        _ = try command(words + script.arguments(cost: min(script.limit, 1_000_000)))
    }
}

/// A connection to a daemon for what a load needs beside the load itself.
public final class DaemonSession {
    private static let maximumTries = 1_100
    private let connection: BlockingConnection

    /// Connects; the connection closes with the session.
    public init(to endpoint: Endpoint) throws(LoadError) {
        connection = try BlockingConnection(to: endpoint)
    }

    /// The daemon's process, over a Unix socket (see `peerProcessID(of:)`).
    public var processID: Int32? { peerProcessID(of: connection.descriptor) }

    /// Sends one check for the user of an index and waits for its answer.
    ///
    /// - Returns: the HTTP status and the body.
    public func check(_ users: Users, at index: Int, cost: Int) throws(LoadError) -> (status: Int, body: String) {
        try exchange(.httpCheck(cost: cost), users, at: index)
    }

    /// Reserves once, and says how many bytes the lease has; nil where there is none.
    public func leaseLength(_ users: Users) throws(LoadError) -> Int? {
        let body = Array(try exchange(.httpReservation, users, at: 0).body.utf8)
        return body.withUnsafeBufferPointer { body in
            guard let found = firstOffset(of: FollowUp.mark, in: body, body.indices) else { return nil }
            return body[(found + FollowUp.mark.utf8CodeUnitCount)...].prefix { $0 != UInt8(ascii: "\"") }.count
        }
    }

    private func exchange(
        _ template: RequestTemplate, _ users: Users, at index: Int
    ) throws(LoadError) -> (status: Int, body: String) {
        let start = index * Users.textLength
        let request = template.filled(user: users.text[start..<(start + Users.textLength)])
        let target = connection.endpoint.description
        return try connection.exchange(request) { bytes throws(LoadError) -> (status: Int, body: String)? in
            switch scanHTTPAnswer(bytes) {
            case .incomplete: return nil
            case .malformed: throw .malformedAnswer(target: target)
            case .answer(let status, let body, _): return (status, String(decoding: bytes[body], as: UTF8.self))
            }
        }
    }

    /// Uses up the budget of the denied user, in steps of what is left and at most 1,000,000.
    ///
    /// It fails where no denial comes after 1,100 checks: the limit is off, or above a thousand million, or Redis is
    /// away and the daemon lets everything pass.
    public func exhaustDeniedUser(of mix: CheckMix) throws(LoadError) {
        let target = connection.endpoint.description
        var cost = mix.cost
        for _ in 0..<Self.maximumTries {
            let answer = try check(mix.deniedUser, at: 0, cost: cost)
            switch answer.status {
            case 429 where cost <= mix.cost: return
            case 429: cost = mix.cost
            case 200:
                guard let remaining = Self.remaining(in: answer.body) else {
                    throw .cannotExhaust(target: target, reason: "its answers carry no remaining budget")
                }
                cost = min(max(remaining, mix.cost), 1_000_000)
            default: throw .cannotExhaust(target: target, reason: "it answered with status \(answer.status)")
            }
        }
        throw .cannotExhaust(target: target, reason: "no denial after \(Self.maximumTries) checks")
    }

    /// The number after `"remaining":`; nil where there is none.
    static func remaining(in body: String) -> Int? {
        let name = #""remaining":"#
        let bytes = Array(body.utf8)
        guard let start = firstOffset(of: name, in: bytes) else { return nil }
        let digits = bytes[(start + name.utf8.count)...].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return Int(String(decoding: digits, as: UTF8.self))
    }
}
