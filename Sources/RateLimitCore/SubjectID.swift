/// Who a user or a group is: any UTF-8 text of 1 to 256 bytes.
///
/// Texts are compared byte by byte, so that no two of them are one subject. A canonical UUID (36 characters, `8-4-4-4-12`
/// hexadecimal digits; RFC 9562, section 4) is the exception: either case is the same subject, in lower case. A UUID and a
/// text of up to 16 bytes stand in the value itself; a longer text is one allocation, which copies share.
public struct SubjectID: Sendable {
    /// What the two halves are of.
    @usableFromInline
    enum Form: Sendable {
        /// The 128 bits of a UUID.
        case uuid
        /// The bytes of a text of this length, zeros behind them.
        case short(UInt8)
        /// A hash of this text, another one in each process.
        case long([UInt8])
    }

    /// The first 64 bits: of a UUID the first 16 digits, of another text some that tell texts apart as a hash does.
    public let high: UInt64
    /// The last 64 bits.
    public let low: UInt64
    @usableFromInline
    let form: Form

    /// How many bytes a text has.
    public static let textLengths = 1...256
    /// How many bytes a canonical UUID has.
    public static let uuidLength = 36
    /// What is accepted, as a part of a sentence.
    public static let accepted = "a text of 1 to 256 bytes of UTF-8"

    /// Makes the identity that is a UUID, from its two halves.
    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
        form = .uuid
    }

    /// Whether it is a UUID.
    @inlinable
    public var isUUID: Bool { if case .uuid = form { true } else { false } }

    /// Reads a canonical UUID; nil for any other text.
    @inlinable
    public init?(uuid text: UnsafeRawBufferPointer) {
        guard text.count == Self.uuidLength, text[8] == 0x2d, text[13] == 0x2d, text[18] == 0x2d, text[23] == 0x2d
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

    /// Reads a text; nil where it is empty, longer than 256 bytes or no UTF-8.
    @inlinable
    public init?(_ text: UnsafeRawBufferPointer) {
        if let uuid = Self(uuid: text) { self = uuid } else { self.init(other: text) }
    }

    /// Reads a text; nil where it is empty or longer than 256 bytes.
    public init?(_ text: some StringProtocol) {
        var text = String(text)
        guard let id = text.withUTF8({ Self(UnsafeRawBufferPointer($0)) }) else { return nil }
        self = id
    }

    /// Reads a text that is no canonical UUID.
    @usableFromInline
    init?(other text: UnsafeRawBufferPointer) {
        guard Self.textLengths.contains(text.count),
            text.allSatisfy({ $0 < 0x80 }) || String(validating: text, as: UTF8.self) != nil
        else { return nil }
        guard text.count > 16 else {
            var halves: (high: UInt64, low: UInt64) = (0, 0)
            withUnsafeMutableBytes(of: &halves) { $0.copyMemory(from: text) }
            (high, low) = (halves.high, halves.low)
            form = .short(UInt8(text.count))
            return
        }
        var hasher = Hasher()
        hasher.combine(bytes: text)
        high = UInt64(bitPattern: Int64(hasher.finalize()))
        low = UInt64(text.count)
        form = .long(Array(text))
    }

    /// Gives `read` the bytes of the text, of a UUID in lower case.
    public func withText<Value>(_ read: (UnsafeRawBufferPointer) -> Value) -> Value {
        switch form {
        case .uuid:
            withUnsafeTemporaryAllocation(byteCount: Self.uuidLength, alignment: 1) { buffer in
                if let base = buffer.baseAddress { writeUUID(to: base) }
                return read(UnsafeRawBufferPointer(buffer))
            }
        case .short(let length):
            withUnsafeBytes(of: (high, low)) { read(UnsafeRawBufferPointer(rebasing: $0[..<Int(length)])) }
        case .long(let bytes): bytes.withUnsafeBytes(read)
        }
    }

    /// The text, of a UUID in lower case.
    ///
    /// It may hold anything: quotation marks, line feeds, escape sequences. Where it becomes a part of another text, that
    /// has to escape it, or take ``description``.
    public var text: String { withText { String(decoding: $0, as: UTF8.self) } }

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

    /// Writes the 36 bytes of a UUID, in lower case, to where `target` points.
    ///
    /// - Precondition: ``isUUID``.
    @inlinable
    public func writeUUID(to target: UnsafeMutableRawPointer) {
        precondition(isUUID)
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

extension SubjectID: Hashable {
    /// Whether both have the same bytes, a UUID in either case.
    @inlinable
    public static func == (left: Self, right: Self) -> Bool {
        guard left.high == right.high, left.low == right.low else { return false }
        switch (left.form, right.form) {
        case (.uuid, .uuid): return true
        case (.short(let one), .short(let other)): return one == other
        case (.long(let one), .long(let other)): return one == other
        default: return false
        }
    }

    /// Takes the halves, which are a hash where the text is long.
    @inlinable
    public func hash(into hasher: inout Hasher) {
        hasher.combine(high)
        hasher.combine(low)
    }
}
