import Glibc
import RateLimitCore

/// Reads JSON (RFC 8259) in one pass over its bytes, nothing allocated unless a name is written with escapes.
///
/// What a body has to be is in extensions, each beside its route; nesting is bounded.
struct JSONReader {
    /// Arrays and objects within one another, at most.
    static let maximumDepth = 32

    let bytes: UnsafeRawBufferPointer
    var position = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Reads an object, and has `member` read or skip the value of each of its members, by the place of the name.
    @inline(__always)
    mutating func object(
        _ member: (inout JSONReader, _ name: Range<Int>) throws(RequestError) -> Void
    ) throws(RequestError) {
        try expect(0x7b, "an object")
        skipSpace()
        if skip(0x7d) { return }
        repeat {
            skipSpace()
            let name = try string()
            skipSpace()
            try expect(0x3a, "a colon")
            skipSpace()
            try member(&self, name)
            skipSpace()
        } while skip(0x2c)
        try expect(0x7d, "a comma or a closing brace")
    }

    /// Reads an object and nothing behind it; a byte order mark before it is passed over.
    @inline(__always)
    mutating func wholeObject(
        _ member: (inout JSONReader, _ name: Range<Int>) throws(RequestError) -> Void
    ) throws(RequestError) {
        if bytes.first == 0xef { skipByteOrderMark() }
        skipSpace()
        try object(member)
        skipSpace()
        guard position == bytes.count else { throw malformed("nothing after the object") }
    }

    /// A whole number, however it is written (``WholeNumber``); nil where the value is anything else.
    mutating func wholeNumber() throws(RequestError) -> Int? {
        if let number = plainNumber() { return number }
        let start = position
        try skipValue(depth: 2)
        return WholeNumber.read(bytes[start..<position])
    }

    /// A number as nearly everybody writes it: digits alone, no zero before others, and few enough for an `Int`; nil, and
    /// nothing passed over, for anything else.
    @inline(__always)
    private mutating func plainNumber() -> Int? {
        var end = position
        var value = 0
        let bound = min(bytes.count, position + WholeNumber.maximumDigits)
        while end < bound, bytes[end] &- 0x30 < 10 {
            value = value &* 10 &+ Int(bytes[end] &- 0x30)
            end += 1
        }
        guard end > position, bytes[position] != 0x30 || end == position + 1 else { return nil }
        if end < bytes.count {
            switch bytes[end] {
            case 0x30...0x39, 0x2e, 0x45, 0x65: return nil
            default: break
            }
        }
        position = end
        return value
    }

    /// A string that is a user or a group, written with or without escapes; nil where the value is anything else.
    mutating func subject() throws(RequestError) -> SubjectID? {
        guard position < bytes.count, bytes[position] == 0x22 else { return nil }
        return subject(in: try string())
    }

    /// The user or group that the text between two quotes stands for; nil where it is none.
    func subject(in range: Range<Int>) -> SubjectID? {
        let raw = UnsafeRawBufferPointer(rebasing: bytes[range])
        guard raw.containsEscape else { return SubjectID(raw) }
        return unescaped(range).flatMap { SubjectID($0) }
    }

    /// Reads an array, and has `element` read or skip each of its elements.
    mutating func array(
        _ element: (inout JSONReader) throws(RequestError) -> Void
    ) throws(RequestError) {
        try expect(0x5b, "an array")
        skipSpace()
        if skip(0x5d) { return }
        repeat {
            skipSpace()
            try element(&self)
            skipSpace()
        } while skip(0x2c)
        try expect(0x5d, "a comma or a closing bracket")
    }

    /// Passes over what stands for nothing, so that a member that is null is as one that is left out.
    mutating func isNull() -> Bool { skipWord("null") }

    private mutating func skipByteOrderMark() {
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position += 3 }
    }

    mutating func skipValue(depth: Int) throws(RequestError) {
        guard position < bytes.count else { throw malformed("a value") }
        switch bytes[position] {
        case 0x22: _ = try string()
        case 0x7b, 0x5b: try skipContainer(depth: depth)
        case 0x2d, 0x30...0x39: try skipNumber()
        default:
            for word in ["true", "false", "null"] as [StaticString] where skipWord(word) { return }
            throw malformed("a value")
        }
    }

    mutating func skipContainer(depth: Int) throws(RequestError) {
        guard depth < Self.maximumDepth else { throw malformed("nesting of at most \(Self.maximumDepth)") }
        let isObject = bytes[position] == 0x7b
        position += 1
        skipSpace()
        if skip(isObject ? 0x7d : 0x5d) { return }
        repeat {
            skipSpace()
            if isObject {
                _ = try string()
                skipSpace()
                try expect(0x3a, "a colon")
                skipSpace()
            }
            try skipValue(depth: depth + 1)
            skipSpace()
        } while skip(0x2c)
        try expect(isObject ? 0x7d : 0x5d, "a comma or a closing bracket")
    }

    mutating func skipNumber() throws(RequestError) {
        _ = skip(0x2d)
        if !skip(0x30) { try skipDigits() }
        if skip(0x2e) { try skipDigits() }
        if skip(0x65) || skip(0x45) {
            if !skip(0x2b) { _ = skip(0x2d) }
            try skipDigits()
        }
    }

    mutating func skipDigits() throws(RequestError) {
        let start = position
        while position < bytes.count, bytes[position] &- 0x30 < 10 { position += 1 }
        guard position > start else { throw malformed("a digit") }
    }

    /// Where the text between the quotes stands, escapes not resolved.
    mutating func string() throws(RequestError) -> Range<Int> {
        try expect(0x22, "a string")
        let start = position
        while position < bytes.count {
            skipPlainCharacters()
            guard position < bytes.count else { break }
            let byte = bytes[position]
            if byte == 0x22 {
                position += 1
                return start..<position - 1
            }
            guard byte >= 0x20 else { break }
            position += 1
            if byte == 0x5c { try skipEscape() }
        }
        throw malformed("a string that ends, without control characters")
    }

    /// Passes over eight bytes of a string at once, while there is neither a quotation mark, a backslash nor a control
    /// character among them.
    @inline(__always)
    private mutating func skipPlainCharacters() {
        let ones: UInt64 = 0x0101_0101_0101_0101
        while position + 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)
            let quote = word ^ (ones &* 0x22)
            let escape = word ^ (ones &* 0x5c)
            // The top bit of each such byte is set, and maybe that of the byte behind it.
            let odd =
                (word &- ones &* 0x20) & ~word | (quote &- ones) & ~quote | (escape &- ones) & ~escape
            guard odd & (ones &* 0x80) == 0 else { return }
            position += 8
        }
    }

    mutating func skipEscape() throws(RequestError) {
        guard position < bytes.count else { throw malformed("an escape") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case 0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74: return
        case 0x75:
            for _ in 0..<4 {
                guard position < bytes.count, hexadecimalDigit(bytes[position]) != nil else {
                    throw malformed("four hexadecimal digits after \\u")
                }
                position += 1
            }
        default: throw malformed("an escape of JSON's")
        }
    }

    /// Whether a member's name is `name`; one that is written with `\u` escapes is resolved first.
    func isName(_ range: Range<Int>, _ name: StaticString) -> Bool {
        let text = UnsafeRawBufferPointer(rebasing: bytes[range])
        if text.equals(name) { return true }
        guard text.containsEscape else { return false }
        var resolved: [UInt8] = []
        var index = 0
        while index < text.count {
            if text[index] == 0x5c, text[index + 1] == 0x75 {
                let code = text[index + 2..<index + 6].reduce(0) { $0 << 4 | Int(hexadecimalDigit($1) ?? 0) }
                guard code < 0x80 else { return false }
                resolved.append(UInt8(code))
                index += 6
            } else if text[index] == 0x5c {
                return false
            } else {
                resolved.append(text[index])
                index += 1
            }
        }
        return resolved.withUnsafeBytes { $0.equals(name) }
    }

    mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    mutating func skip(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    mutating func skipWord(_ word: StaticString) -> Bool {
        let end = position + word.utf8CodeUnitCount
        guard end <= bytes.count, UnsafeRawBufferPointer(rebasing: bytes[position..<end]).equals(word) else {
            return false
        }
        position = end
        return true
    }

    mutating func expect(_ byte: UInt8, _ what: StaticString) throws(RequestError) {
        guard skip(byte) else { throw malformed("\(what)") }
    }

    func malformed(_ expected: String) -> RequestError {
        .malformedJSON("expected \(expected) at byte \(position)")
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes of a literal, which live as long as the process.
    init(_ text: StaticString) {
        self.init(start: text.utf8Start, count: text.utf8CodeUnitCount)
    }

    /// Whether a backslash is among them.
    var containsEscape: Bool {
        guard let baseAddress else { return false }
        return memchr(baseAddress, 0x5c, count) != nil
    }

    /// Whether these are the bytes of a literal.
    func equals(_ text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount, let baseAddress else { return count == text.utf8CodeUnitCount }
        return memcmp(baseAddress, text.utf8Start, count) == 0
    }
}

extension StaticString {
    /// Whether it begins with some bytes.
    func hasPrefix(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count <= utf8CodeUnitCount, let start = bytes.baseAddress else { return bytes.isEmpty }
        return memcmp(start, utf8Start, bytes.count) == 0
    }
}

/// The value of a hexadecimal digit of either case.
func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
}
