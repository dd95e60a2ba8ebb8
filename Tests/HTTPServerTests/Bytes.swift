import RateLimitCore

@testable import HTTPServer

let someUser = SubjectID(high: 0x0123_4567_89ab_cdef, low: 0x0123_4567_89ab_cdef)
let someText = "01234567-89ab-cdef-0123-456789abcdef"

/// Bytes as a text of one line, so that a failure can be read and typed in again.
func printable(_ bytes: some Sequence<UInt8>) -> String {
    var text = ""
    for byte in bytes {
        switch byte {
        case 0x0d: text += "\\r"
        case 0x0a: text += "\\n"
        case 0x20...0x7e: text.unicodeScalars.append(Unicode.Scalar(byte))
        default: text += "\\x" + String(byte, radix: 16)
        }
    }
    return text
}

/// What a function that throws nothing but a request's error gives or says.
func result<Value>(_ body: () throws(RequestError) -> Value) -> Result<Value, RequestError> {
    Result { () throws(RequestError) in try body() }
}

/// Reads bytes with a function that takes a buffer.
func read<Value>(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(RequestError) -> Value
) -> Result<Value, RequestError> {
    bytes.withUnsafeBytes { bytes in result { () throws(RequestError) in try body(bytes) } }
}

/// An answer with its Date line taken out.
func withoutDate(_ bytes: some Sequence<UInt8>) -> String {
    var lines = String(decoding: Array(bytes), as: UTF8.self).components("\r\n")
    lines.removeAll { $0.hasPrefix("Date: ") }
    return lines.joined(separator: "\r\n")
}

extension String {
    /// The parts between separators, as bytes are compared and not characters: "\r\n" is one of those.
    func components(_ separator: String) -> [String] {
        var parts: [String] = []
        var part: [UInt8] = []
        let bytes = Array(utf8)
        let mark = Array(separator.utf8)
        var index = 0
        while index < bytes.count {
            if bytes[index...].starts(with: mark) {
                parts.append(String(decoding: part, as: UTF8.self))
                part = []
                index += mark.count
            } else {
                part.append(bytes[index])
                index += 1
            }
        }
        return parts + [String(decoding: part, as: UTF8.self)]
    }
}
