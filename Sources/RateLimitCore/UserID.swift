/// Whose budget a check draws on: a UUID, as 128 bits.
///
/// The canonical text is 36 characters, `8-4-4-4-12` hexadecimal digits (RFC 9562, section 4). Either case is read;
/// lower case is written, so that both are the same user.
public struct UserID: Hashable, Sendable {
    /// The first 16 digits, most significant first.
    public let high: UInt64
    /// The last 16 digits.
    public let low: UInt64

    /// How many bytes the canonical text takes.
    public static let textLength = 36

    /// Makes an identity from its two halves.
    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads the canonical text; nil for anything else.
    @inlinable
    public init?(_ text: UnsafeRawBufferPointer) {
        guard text.count == Self.textLength, text[8] == 0x2d, text[13] == 0x2d, text[18] == 0x2d, text[23] == 0x2d
        else { return nil }
        var invalid: UInt8 = 0
        var high = Self.digits(text, 0..<8, 0, &invalid)
        high = Self.digits(text, 9..<13, high, &invalid)
        high = Self.digits(text, 14..<18, high, &invalid)
        var low = Self.digits(text, 19..<23, 0, &invalid)
        low = Self.digits(text, 24..<36, low, &invalid)
        guard invalid == 0 else { return nil }
        self.init(high: high, low: low)
    }

    /// Reads the canonical text; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        guard let user = bytes.withUnsafeBytes({ UserID($0) }) else { return nil }
        self = user
    }

    @inlinable
    static func digits(
        _ text: UnsafeRawBufferPointer, _ range: Range<Int>, _ start: UInt64, _ invalid: inout UInt8
    ) -> UInt64 {
        var value = start
        for index in range {
            let byte = text[index]
            let isLetter = byte &>> 6
            // A letter's low bits are 1 to 6, and stand for 10 to 15.
            let digit = (byte & 0x0f) &+ isLetter &* 9
            let isDecimal = byte &- 0x30 < 10
            let isHexadecimalLetter = (byte | 0x20) &- 0x61 < 6
            invalid |= isDecimal || isHexadecimalLetter ? 0 : 0xff
            value = value << 4 | UInt64(digit & 0x0f)
        }
        return value
    }

    /// Writes the 36 bytes of the canonical text, in lower case, to where `target` points.
    @inlinable
    public func write(to target: UnsafeMutableRawPointer) {
        var position = Self.write(high, bits: 64, count: 8, to: target, at: 0)
        target.storeBytes(of: 0x2d, toByteOffset: position, as: UInt8.self)
        position = Self.write(high, bits: 32, count: 4, to: target, at: position + 1)
        target.storeBytes(of: 0x2d, toByteOffset: position, as: UInt8.self)
        position = Self.write(high, bits: 16, count: 4, to: target, at: position + 1)
        target.storeBytes(of: 0x2d, toByteOffset: position, as: UInt8.self)
        position = Self.write(low, bits: 64, count: 4, to: target, at: position + 1)
        target.storeBytes(of: 0x2d, toByteOffset: position, as: UInt8.self)
        _ = Self.write(low, bits: 48, count: 12, to: target, at: position + 1)
    }

    /// Writes `count` digits of `value`, the first of them being the one just below bit `bits`.
    @inlinable
    static func write(_ value: UInt64, bits: UInt64, count: Int, to target: UnsafeMutableRawPointer, at start: Int)
        -> Int
    {
        var shift = bits
        for index in start..<start + count {
            shift &-= 4
            let digit = UInt8(truncatingIfNeeded: value &>> shift) & 15
            target.storeBytes(of: digit < 10 ? digit &+ 0x30 : digit &+ 0x57, toByteOffset: index, as: UInt8.self)
        }
        return start + count
    }
}

extension UserID: CustomStringConvertible {
    /// The canonical text, in lower case.
    public var description: String {
        String(unsafeUninitializedCapacity: Self.textLength) { buffer in
            if let base = buffer.baseAddress { write(to: UnsafeMutableRawPointer(base)) }
            return Self.textLength
        }
    }
}
