import RateLimitCore

/// Strings with their escapes resolved.
extension JSONReader {
    /// A string's text with its escapes resolved.
    ///
    /// - Parameter name: what it is, for what is thrown.
    mutating func text(_ name: @autoclosure () -> String) throws(RequestError) -> String {
        guard position < bytes.count, bytes[position] == 0x22 else { throw .invalidCall("\(name()) is no string") }
        guard let text = unescaped(try string()) else {
            throw .invalidCall("\(name()) holds half a surrogate pair, or is no UTF-8")
        }
        return text
    }

    /// The text between two quotes, escapes resolved; nil where it is no UTF-8, and where it holds half a surrogate pair.
    func unescaped(_ range: Range<Int>) -> String? {
        let raw = UnsafeRawBufferPointer(rebasing: bytes[range])
        guard raw.containsEscape else { return String(validating: raw, as: UTF8.self) }
        var units: [UInt8] = []
        units.reserveCapacity(range.count)
        var index = range.lowerBound
        while index < range.upperBound {
            guard bytes[index] == 0x5c else {
                units.append(bytes[index])
                index += 1
                continue
            }
            let escape = bytes[index + 1]
            index += 2
            switch escape {
            case 0x62: units.append(0x08)
            case 0x66: units.append(0x0c)
            case 0x6e: units.append(0x0a)
            case 0x72: units.append(0x0d)
            case 0x74: units.append(0x09)
            case 0x75:
                guard let scalar = scalar(at: &index, before: range.upperBound) else { return nil }
                units += Array(String(scalar).utf8)
            default: units.append(escape)
            }
        }
        return String(validating: units, as: UTF8.self)
    }

    /// Gives `read` the bytes that the text between two quotes stands for; nil where they are no text.
    func resolved<Value>(_ range: Range<Int>, _ read: (UnsafeRawBufferPointer) -> Value?) -> Value? {
        guard var text = unescaped(range) else { return nil }
        return text.withUTF8 { read(UnsafeRawBufferPointer($0)) }
    }

    /// The character that four digits stand for, or twice four where they are a surrogate pair.
    private func scalar(at index: inout Int, before end: Int) -> UnicodeScalar? {
        func unit() -> UInt32 {
            defer { index += 4 }
            return bytes[index..<index + 4].reduce(0) { $0 << 4 | UInt32(hexadecimalDigit($1) ?? 0) }
        }
        let first = unit()
        guard 0xd800...0xdbff ~= first else { return UnicodeScalar(first) }
        guard index + 6 <= end, bytes[index] == 0x5c, bytes[index + 1] == 0x75 else { return nil }
        index += 2
        let second = unit()
        guard 0xdc00...0xdfff ~= second else { return nil }
        return UnicodeScalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
    }
}
