/// A reply of Redis.
package indirect enum RedisReply: Equatable, Sendable {
    case status(String)
    case error(String)
    case integer(Int)
    case bulk([UInt8])
    case null
    case array([RedisReply])

    package var text: String? {
        switch self {
        case .status(let text), .error(let text): text
        case .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
        case .integer(let value): String(value)
        case .null, .array: nil
        }
    }

    package var integer: Int? {
        if case .integer(let value) = self { value } else { nil }
    }

    package var elements: [RedisReply] {
        if case .array(let elements) = self { elements } else { [] }
    }
}

/// A blocking connection to a test's Redis.
package final class RedisConnection {
    private let socket: StreamSocket
    private var received: [UInt8] = []
    private var position = 0

    package convenience init(_ path: String, timeoutSeconds: Double = 20) throws {
        try self.init(.unix(path), timeoutSeconds: timeoutSeconds)
    }

    package init(_ address: Address, timeoutSeconds: Double = 20) throws {
        socket = try StreamSocket(address, timeoutSeconds: timeoutSeconds)
    }

    /// Sends a command and waits for its reply.
    @discardableResult
    package func command(_ arguments: String...) throws -> RedisReply { try command(arguments) }

    /// Sends a command and waits for its reply.
    @discardableResult
    package func command(_ arguments: [String]) throws -> RedisReply {
        var bytes = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments { bytes += Array("$\(argument.utf8.count)\r\n\(argument)\r\n".utf8) }
        return try command(encoded: bytes)
    }

    /// Sends a command that is encoded already and waits for its reply.
    package func command(encoded bytes: [UInt8]) throws -> RedisReply {
        try socket.send(bytes)
        received.removeSubrange(..<position)
        position = 0
        return try reply()
    }

    /// What comes next unasked, such as a message on a subscribed channel.
    package func pushed() throws -> RedisReply { try reply() }

    private func reply() throws -> RedisReply {
        let line = try self.line()
        guard let type = line.first else { throw TestFailure("Redis sent an empty line") }
        let text = String(decoding: line.dropFirst(), as: UTF8.self)
        switch type {
        case UInt8(ascii: "+"): return .status(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"): return .integer(Int(text) ?? 0)
        case UInt8(ascii: "$"):
            guard let count = Int(text), count >= 0 else { return .null }
            return .bulk(try bytes(count))
        case UInt8(ascii: "*"):
            guard let count = Int(text), count >= 0 else { return .null }
            return .array(try (0..<count).map { _ in try reply() })
        default: throw TestFailure("Redis sent \(text)")
        }
    }

    private func line() throws -> [UInt8] {
        while true {
            if let end = received[position...].firstIndex(of: 0x0a) {
                defer { position = end + 1 }
                return Array(received[position..<end - 1])
            }
            try receiveMore()
        }
    }

    private func bytes(_ count: Int) throws -> [UInt8] {
        while received.count < position + count + 2 { try receiveMore() }
        defer { position += count + 2 }
        return Array(received[position..<position + count])
    }

    private func receiveMore() throws {
        guard let bytes = try socket.receive(), !bytes.isEmpty else { throw TestFailure("Redis does not answer") }
        received += bytes
    }
}
