/// The bytes of `ShouldRateLimit` as Envoy 1.40 sends them (RFC 9113 and 7541): each call a frame of headers, of which all
/// but the path stand in the connection's table, and a frame with the message, which ends the stream.
extension RequestTemplate {
    /// The domain and the entry's key of the descriptors that are asked for.
    public static let domain = "bench"
    /// The key of the entry whose value is the user.
    public static let key = "user"

    static let shouldRateLimit: RequestTemplate = {
        // POST and http of the static table, and the entries that the preface has put into the other, newest first.
        let block: [UInt8] = [0x83, 0x86] + pathField(path) + table.indices.reversed().map { 0x80 | UInt8(62 + $0) }
        let message =
            field(1, Array(domain.utf8)) + field(2, field(1, field(1, Array(key.utf8)) + field(2, Array(hole.utf8))))
        let data: [UInt8] = [0, 0, 0, 0, UInt8(message.count)] + message
        let headers = frame(.headers, flags: endHeaders, block)
        return RequestTemplate(
            bytes: headers + frame(.data, flags: endStream, data), streamOffsets: [5, headers.count + 5],
            preface: preface)
    }()

    /// What a connection begins with: settings, a window that never closes, and a call of a method that there is not, which
    /// puts the headers of all others into the table. Its answer has no data.
    private static var preface: [UInt8] {
        let window: UInt32 = 1 << 31 - 1 - 65_535
        let number = withUnsafeBytes(of: window.bigEndian) { Array($0) }
        let fields = table.reduce(into: [UInt8]()) { $0 += [0x40] + text($1.name) + text($1.value) }
        let block: [UInt8] = [0x83, 0x86] + pathField(text("/warm/up")) + fields
        return Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(.settings, flags: 0, [], stream: 0)
            + frame(.windowUpdate, flags: 0, number, stream: 0) + frame(.settings, flags: 1, [], stream: 0)
            + frame(.headers, flags: endHeaders | endStream, block, stream: 1)
    }

    private static let table: [(name: String, value: String)] = [
        (":authority", "rls"), ("te", "trailers"), ("grpc-timeout", "20m"), ("content-type", "application/grpc"),
        ("x-envoy-internal", "true"), ("x-forwarded-for", "127.0.0.1"), ("x-envoy-expected-rq-timeout-ms", "20"),
    ]

    /// `/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`, Huffman-coded, with its length.
    private static let path: [UInt8] = [
        0x80 | 43, 0x60, 0xb5, 0x77, 0x3f, 0xa5, 0xd0, 0x5b, 0x3b, 0x98, 0x85, 0x5e, 0xc1, 0xa4, 0xb4, 0x1a, 0x93, 0x25,
        0x7e, 0xec, 0xaf, 0xb4, 0x69, 0x2e, 0x73, 0x52, 0x64, 0xee, 0x2d, 0x9d, 0xcc, 0x42, 0xb1, 0xba, 0x73, 0xdb,
        0x44,
        0x9b, 0x46, 0x92, 0xe7, 0x35, 0x26, 0x4f,
    ]

    private enum Frame: UInt8 {
        case data = 0
        case headers = 1
        case settings = 4
        case windowUpdate = 8
    }

    private static let endStream: UInt8 = 1
    private static let endHeaders: UInt8 = 4

    private static func frame(_ type: Frame, flags: UInt8, _ payload: [UInt8], stream: UInt8 = 0) -> [UInt8] {
        [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), type.rawValue, flags, 0, 0, 0, stream] + payload
    }

    /// A path that is put into no table.
    private static func pathField(_ text: [UInt8]) -> [UInt8] { [0x04] + text }

    private static func text(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    /// A field of bytes of a protobuf message.
    private static func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [number << 3 | 2, UInt8(bytes.count)] + bytes
    }
}

/// Reads the frame at the front of the bytes: an answer where it holds a message, and an end where a stream or the
/// connection was broken off.
func scanFrame(_ bytes: UnsafeBufferPointer<UInt8>) -> ScannedAnswer {
    guard bytes.count >= 9 else { return .incomplete }
    let length = 9 + Int(bytes[0]) << 16 + Int(bytes[1]) << 8 + Int(bytes[2])
    guard bytes.count >= length else { return .incomplete }
    let (reset, goAway): (UInt8, UInt8) = (3, 7)
    switch bytes[3] {
    case 0 where length >= 9 + 5 + 2:
        // Behind gRPC's prefix stands the overall code: 1 is OK, 2 OVER_LIMIT.
        guard bytes[14] == 0x08 else { return .answer(length: length, outcome: .other) }
        return .answer(length: length, outcome: bytes[15] == 1 ? .allowed : bytes[15] == 2 ? .denied : .other)
    case reset, goAway: return .malformed
    default: return .passing(length: length)
    }
}
