import RateLimitCore
import RateLimitService

/// What is read of `envoy.service.auth.v3.CheckRequest`, as of Envoy 1.40: it refers to the message's own bytes, and is good
/// for as long as those are.
struct CheckRequest {
    /// The most headers of a request, and the most of its context extensions: a proxy passes far fewer on.
    static let mostHeaders = 1_024

    /// Who has sent the request to the proxy; somebody who has no IP address is on a Unix socket.
    private(set) var peer = ConnectionPeer.unixSocket
    private var headers: [Pair] = []
    private var extensions: [Pair] = []

    private struct Pair {
        var name = UnsafeRawBufferPointer(start: nil, count: 0)
        var value = UnsafeRawBufferPointer(start: nil, count: 0)
    }

    /// Reads a message.
    init(protobuf bytes: UnsafeRawBufferPointer) throws(GRPCError) {
        do throws(ProtobufError) {
            try read(ProtobufReader(bytes)) { (request, field, reader) throws(ProtobufError) in
                guard field == .bytes(1) else { return false }
                try request.readAttributes(try reader.message())
                return true
            }
        } catch {
            throw .malformed("CheckRequest", error)
        }
        guard headers.count <= Self.mostHeaders, extensions.count <= Self.mostHeaders else {
            throw .invalid(
                "cannot decide for a request of so many headers or context extensions: accepted are \(Self.mostHeaders) of each"
            )
        }
    }

    /// The values of a header, each as often as the proxy has it: names are compared without regard to case.
    func values(of name: HeaderName) -> [String] {
        headers.filter { Self.isSame($0.name, name.description) }.map { String(decoding: $0.value, as: UTF8.self) }
    }

    /// What the proxy's configuration says of the call under a name; nil where it says nothing, or an empty text.
    func contextExtension(_ name: String) -> String? {
        let pair = extensions.last { $0.name.elementsEqual(name.utf8) }
        return pair.flatMap { $0.value.isEmpty ? nil : String(decoding: $0.value, as: UTF8.self) }
    }

    private static func isSame(_ bytes: UnsafeRawBufferPointer, _ name: String) -> Bool {
        func folded(_ byte: UInt8) -> UInt8 {
            UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte ? byte | 0x20 : byte
        }
        return bytes.count == name.utf8.count && zip(bytes, name.utf8).allSatisfy { folded($0) == folded($1) }
    }
}

// MARK: - Messages

extension CheckRequest {
    /// Gives each field of a message to `take`, which says whether it has read the value.
    private mutating func read(
        _ message: ProtobufReader,
        _ take: (inout CheckRequest, ProtobufReader.Field, inout ProtobufReader) throws(ProtobufError) -> Bool
    ) throws(ProtobufError) {
        var reader = message
        while let field = try reader.next() {
            if try !take(&self, field, &reader) { try reader.skip(field) }
        }
    }

    private mutating func readAttributes(_ message: ProtobufReader) throws(ProtobufError) {
        try read(message) { (request, field, reader) throws(ProtobufError) in
            switch field {
            case .bytes(1): try request.readPeer(try reader.message())
            case .bytes(4): try request.readRequest(try reader.message())
            case .bytes(10): Self.add(try Self.pair(try reader.message()), to: &request.extensions)
            default: return false
            }
            return true
        }
    }

    /// `Peer`, and in it the address.
    private mutating func readPeer(_ message: ProtobufReader) throws(ProtobufError) {
        try read(message) { (request, field, reader) throws(ProtobufError) in
            guard field == .bytes(1) else { return false }
            try request.read(try reader.message()) { (request, field, reader) throws(ProtobufError) in
                guard field == .bytes(1) else { return false }
                try request.readSocketAddress(try reader.message())
                return true
            }
            return true
        }
    }

    private mutating func readSocketAddress(_ message: ProtobufReader) throws(ProtobufError) {
        try read(message) { (request, field, reader) throws(ProtobufError) in
            guard field == .bytes(2) else { return false }
            request.peer = IPAddress(try reader.text()).map { .address($0) } ?? .unixSocket
            return true
        }
    }

    /// `Request`, and in it `HttpRequest`.
    private mutating func readRequest(_ message: ProtobufReader) throws(ProtobufError) {
        try read(message) { (request, field, reader) throws(ProtobufError) in
            guard field == .bytes(2) else { return false }
            try request.read(try reader.message()) { (request, field, reader) throws(ProtobufError) in
                switch field {
                case .bytes(3): Self.add(try Self.pair(try reader.message()), to: &request.headers)
                // Headers as they came, where Envoy is told to send them so.
                case .bytes(13): try request.readHeaderMap(try reader.message())
                default: return false
                }
                return true
            }
            return true
        }
    }

    private mutating func readHeaderMap(_ message: ProtobufReader) throws(ProtobufError) {
        try read(message) { (request, field, reader) throws(ProtobufError) in
            guard field == .bytes(1) else { return false }
            Self.add(try Self.pair(try reader.message()), to: &request.headers)
            return true
        }
    }

    /// Adds one, of those that are too many the first, so that a request without end takes no memory.
    private static func add(_ pair: Pair, to pairs: inout [Pair]) {
        if pairs.count <= mostHeaders { pairs.append(pair) }
    }

    /// An entry of a map, or a `HeaderValue`, whose raw value stands in place of the other.
    private static func pair(_ message: ProtobufReader) throws(ProtobufError) -> Pair {
        var reader = message
        var pair = Pair()
        while let field = try reader.next() {
            switch field {
            case .bytes(1): pair.name = try reader.block()
            case .bytes(2), .bytes(3): pair.value = try reader.block()
            default: try reader.skip(field)
            }
        }
        return pair
    }
}
