import CNGHTTP2

/// A frame of HTTP/2, as a client without a library writes and reads it.
struct Frame: Equatable {
    enum Kind: UInt8 {
        case data, headers, priority, reset, settings, pushPromise, ping, goAway, windowUpdate, continuation
    }

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    static let endStream: UInt8 = 1
    static let acknowledge: UInt8 = 1
    static let endHeaders: UInt8 = 4

    var kind: Kind
    var flags: UInt8 = 0
    var stream: Int32 = 0
    var payload: [UInt8] = []

    var bytes: [UInt8] {
        let length = UInt32(payload.count)
        return Array(bigEndian(length).dropFirst()) + [kind.rawValue, flags] + bigEndian(UInt32(stream)) + payload
    }

    /// The number at the end of resets and of GOAWAY.
    var errorCode: UInt32 {
        payload.suffix(kind == .goAway ? payload.count - 4 : 4).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Takes the whole frames off the front.
    static func takeAll(_ bytes: inout [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var rest = bytes[...]
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = head[0..<3].reduce(0) { $0 << 8 | Int($1) }
            guard rest.count >= 9 + length, let kind = Kind(rawValue: head[3]) else { break }
            let stream = head[5..<9].reduce(0) { $0 << 8 | Int32($1) } & .max
            frames.append(
                Frame(kind: kind, flags: head[4], stream: stream, payload: Array(rest.dropFirst(9).prefix(length))))
            rest = rest.dropFirst(9 + length)
        }
        bytes = Array(rest)
        return frames
    }

    // MARK: What a client sends

    static func settings(_ settings: [(UInt16, UInt32)] = []) -> Frame {
        Frame(kind: .settings, payload: settings.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] + bigEndian($1) })
    }

    static func headers(
        _ stream: Int32, _ fields: [(String, String)], ends: Bool = false, endsHeaders: Bool = true
    ) -> Frame {
        let flags = (ends ? endStream : 0) | (endsHeaders ? endHeaders : 0)
        return Frame(kind: .headers, flags: flags, stream: stream, payload: literals(fields))
    }

    static func data(_ stream: Int32, _ payload: [UInt8], ends: Bool = true) -> Frame {
        Frame(kind: .data, flags: ends ? endStream : 0, stream: stream, payload: payload)
    }

    static func reset(_ stream: Int32, code: UInt32 = 2) -> Frame {
        Frame(kind: .reset, stream: stream, payload: bigEndian(code))
    }

    static func ping(acknowledges: Bool = false) -> Frame {
        Frame(kind: .ping, flags: acknowledges ? acknowledge : 0, payload: Array(repeating: 7, count: 8))
    }

    static func windowUpdate(_ stream: Int32, _ increment: UInt32) -> Frame {
        Frame(kind: .windowUpdate, stream: stream, payload: bigEndian(increment))
    }

    /// Fields by HPACK, none of them indexed and none of them by Huffman's code.
    static func literals(_ fields: [(String, String)]) -> [UInt8] {
        fields.flatMap { [0] + text($0) + text($1) }
    }

    static func text(_ text: String) -> [UInt8] { integer(text.utf8.count, prefixBits: 7, first: 0) + Array(text.utf8) }

    /// An integer of HPACK's behind the bits of `first`.
    static func integer(_ value: Int, prefixBits: Int, first: UInt8) -> [UInt8] {
        let most = 1 << prefixBits - 1
        guard value >= most else { return [first | UInt8(value)] }
        var bytes = [first | UInt8(most)]
        var rest = value - most
        while rest >= 128 {
            bytes.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }
}

func bigEndian(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }

/// A message of gRPC's with its prefix.
func framed(_ message: [UInt8], isCompressed: Bool = false) -> [UInt8] {
    [isCompressed ? 1 : 0] + bigEndian(UInt32(message.count)) + message
}

/// Reads blocks of headers by the library's own decoder.
final class HeaderReader {
    private let inflater: OpaquePointer

    init() {
        var made: OpaquePointer?
        guard nghttp2_hd_inflate_new(&made) == 0, let made else { preconditionFailure("memory is there") }
        inflater = made
    }

    deinit { nghttp2_hd_inflate_del(inflater) }

    /// The fields; nil where the block is none.
    func fields(_ block: [UInt8]) -> [String: String]? {
        var fields: [String: String] = [:]
        var block = block
        var position = 0
        while true {
            var field = nghttp2_nv()
            var flags: CInt = 0
            let count = block.withUnsafeMutableBufferPointer {
                nghttp2_hd_inflate_hd2(
                    inflater, &field, &flags, $0.baseAddress.map { $0 + position }, $0.count - position, 1)
            }
            guard count >= 0 else { return nil }
            position += count
            if flags & CInt(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
                let name = String(decoding: UnsafeBufferPointer(start: field.name, count: field.namelen), as: UTF8.self)
                fields[name] = String(
                    decoding: UnsafeBufferPointer(start: field.value, count: field.valuelen), as: UTF8.self)
            }
            if flags & CInt(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
                nghttp2_hd_inflate_end_headers(inflater)
                return fields
            }
            if count == 0 { return nil }
        }
    }
}
