import Glibc

/// Writes bytes one after the other: into memory of somebody else's, which has to suffice, or into memory of its own, which
/// grows.
struct ByteWriter: ~Copyable {
    private var start: UnsafeMutableRawPointer?
    private var capacity: Int
    private(set) var count = 0
    private let isOwner: Bool

    /// Own memory beyond this is given back by ``removeAll()``: few answers are so long.
    static let keptCapacity = 65_536

    /// A writer into `target`, which is known to be large enough.
    init(_ target: UnsafeMutableRawBufferPointer) {
        start = target.baseAddress
        capacity = target.count
        isOwner = false
    }

    /// A writer into memory of its own.
    init() {
        start = nil
        capacity = 0
        isOwner = true
    }

    deinit { if isOwner { start?.deallocate() } }

    /// Begins anew.
    mutating func removeAll() {
        count = 0
        guard isOwner, capacity > Self.keptCapacity else { return }
        start?.deallocate()
        start = nil
        capacity = 0
    }

    /// What has been written.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

    /// Makes room for so many bytes more, and says where.
    @inline(__always)
    private mutating func room(_ length: Int) -> UnsafeMutableRawPointer? {
        if length > capacity - count { grow(length) }
        return start.map { $0 + count }
    }

    @inline(never)
    private mutating func grow(_ length: Int) {
        // The bound holds in release builds as well: a text that does not fit must not be written past the end.
        precondition(isOwner, "what is written does not fit")
        capacity = max(1_024, 2 * capacity, count + length)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 1)
        if let start {
            memcpy(larger, start, count)
            start.deallocate()
        }
        start = larger
    }

    @inline(__always)
    mutating func write(_ text: StaticString) {
        write(UnsafeRawBufferPointer(text))
    }

    mutating func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { write($0) }
    }

    mutating func write(text: String) {
        var text = text
        text.withUTF8 { write(UnsafeRawBufferPointer($0)) }
    }

    @inline(__always)
    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let target = room(bytes.count), let source = bytes.baseAddress else { return }
        memcpy(target, source, bytes.count)
        count += bytes.count
    }

    @inline(__always)
    mutating func write(_ decimal: ShortDecimal) {
        room(8)?.storeBytes(of: decimal.digits, as: UInt64.self)
        count += decimal.count
    }

    /// Writes a number of at least 0.
    mutating func write(decimal value: Int) {
        precondition(value >= 0)
        guard let start = room(Self.maximumDigits) else { return }
        var length = 1
        var bound = 10
        while length < Self.maximumDigits, value >= bound {
            length += 1
            bound = bound &* 10
        }
        var rest = UInt(bitPattern: value)
        for index in stride(from: length - 1, through: 0, by: -1) {
            start.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 + rest % 10), toByteOffset: index, as: UInt8.self)
            rest /= 10
        }
        count += length
    }

    /// Writes a number of at least 0, or `null`.
    mutating func write(decimalOrNull value: Int?) {
        if let value { write(decimal: value) } else { write("null") }
    }

    /// Writes a wait in words: `12 minutes 5 seconds`. Every unit from days to seconds that is not 0 is named, so that the
    /// text is never shorter than the wait.
    mutating func write(waitOfSeconds wait: Int) {
        let start = count
        var rest = max(0, wait)
        func write(_ unit: StaticString, of seconds: Int, to writer: inout ByteWriter) {
            let (number, others) = rest.quotientAndRemainder(dividingBy: seconds)
            rest = others
            guard number > 0 || seconds == 1 && writer.count == start else { return }
            if writer.count > start { writer.write(" ") }
            writer.write(decimal: number)
            writer.write(unit)
            if number != 1 { writer.write("s") }
        }
        write(" day", of: 86_400, to: &self)
        write(" hour", of: 3_600, to: &self)
        write(" minute", of: 60, to: &self)
        write(" second", of: 1, to: &self)
    }

    /// The digits of the largest number there is; the next power of ten would overflow.
    private static let maximumDigits = 19
}

// MARK: - JSON

extension ByteWriter {
    /// Writes the name of an object's member, behind a comma where it is not the first.
    mutating func member(_ name: StaticString) {
        write(bytes.last == UInt8(ascii: "{") ? "\"" : ",\"")
        write(name)
        write("\":")
    }

    /// Writes a text as a JSON string, quotes included.
    mutating func write(json text: String) {
        var text = text
        text.withUTF8 { write(json: UnsafeRawBufferPointer($0)) }
    }

    /// Writes UTF-8 as a JSON string, quotes included.
    mutating func write(json text: UnsafeRawBufferPointer) {
        write("\"")
        var plain = 0
        var index = 0
        while index < text.count {
            guard let escape = Escape(text, at: index) else {
                index += 1
                continue
            }
            write(UnsafeRawBufferPointer(rebasing: text[plain..<index]))
            switch escape.character {
            case 0x0a: write("\\n")
            case 0x0d: write("\\r")
            case 0x09: write("\\t")
            case 0x22: write("\\\"")
            case 0x5c: write("\\\\")
            case let character:
                let digits: StaticString = "0123456789abcdef"
                write("\\u00")
                for digit in [character >> 4, character & 15] {
                    write(UnsafeRawBufferPointer(start: digits.utf8Start + Int(digit), count: 1))
                }
            }
            index += escape.length
            plain = index
        }
        write(UnsafeRawBufferPointer(rebasing: text[plain...]))
        write("\"")
    }

    /// A character that does not stand for itself in JSON, or should not: the C0 and C1 controls and DEL, so that who prints
    /// an answer does not drive a terminal by it.
    private struct Escape {
        var character: UInt8
        /// How many bytes of UTF-8 it takes.
        var length = 1

        @inline(__always)
        init?(_ text: UnsafeRawBufferPointer, at index: Int) {
            character = text[index]
            switch character {
            case 0..<0x20, 0x22, 0x5c, 0x7f: return
            case 0xc2 where index + 1 < text.count && 0x80..<0xa0 ~= text[index + 1]:
                character = text[index + 1]
                length = 2
            default: return nil
            }
        }
    }
}

/// The digits of a number below 100,000,000, in one register: the first one lowest.
struct ShortDecimal {
    private(set) var digits: UInt64 = 0
    private(set) var count = 0

    init?(_ value: Int) {
        guard (0..<100_000_000).contains(value) else { return nil }
        var rest = UInt32(truncatingIfNeeded: value)
        repeat {
            digits = digits << 8 | UInt64(0x30 + rest % 10)
            rest /= 10
            count += 1
        } while rest > 0
    }
}
