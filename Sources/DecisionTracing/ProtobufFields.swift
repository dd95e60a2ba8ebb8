import NIOCore

/// Writing the few kinds of protobuf fields that spans have. The gRPC door has a writer of its own, which the compiler
/// specialises there: answers are on the hot path, and spans are not.
extension ByteBuffer {
    /// Writes a number; 0 is left out, as proto3 has it.
    mutating func writeField(_ field: Int, varint value: UInt64) {
        guard value != 0 else { return }
        writeTag(field, 0)
        writeVarint(value)
    }

    /// Writes a number also where it is 0, as one of several alternatives has to be.
    mutating func writeField(_ field: Int, alternative value: UInt64) {
        writeTag(field, 0)
        writeVarint(value)
    }

    /// Writes a number of 8 bytes.
    mutating func writeField(_ field: Int, fixed64 value: UInt64) {
        writeTag(field, 1)
        writeInteger(value, endianness: .little)
    }

    /// Writes a text, also an empty one.
    mutating func writeField(_ field: Int, text: String) {
        writeTag(field, 2)
        writeVarint(UInt64(text.utf8.count))
        writeString(text)
    }

    /// Writes 8 or 16 bytes, most significant first.
    mutating func writeField(_ field: Int, bytesOf words: UInt64...) {
        writeTag(field, 2)
        writeVarint(UInt64(8 * words.count))
        for word in words { writeInteger(word) }
    }

    /// Writes a message, also an empty one.
    mutating func writeField(_ field: Int, message: (inout ByteBuffer) -> Void) {
        var inner = ByteBuffer()
        message(&inner)
        writeTag(field, 2)
        writeVarint(UInt64(inner.readableBytes))
        writeBuffer(&inner)
    }

    private mutating func writeTag(_ field: Int, _ type: Int) { writeVarint(UInt64(field << 3 | type)) }

    private mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    /// Reads a number of at most 64 bits; nil where there is none.
    mutating func readVarint() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 70, by: 7) {
            guard let byte: UInt8 = readInteger() else { return nil }
            value |= UInt64(byte & 0x7f) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        return nil
    }

    /// Reads the next field: its number, and its value where that is a number, or the bytes of a text or message. Nil at
    /// the end, and where what follows is no field.
    mutating func readField() -> (number: Int, varint: UInt64, bytes: ByteBuffer)? {
        guard let tag = readVarint(), let number = Int(exactly: tag >> 3) else { return nil }
        switch tag & 7 {
        case 0: return readVarint().map { (number, $0, ByteBuffer()) }
        case 1: return readSlice(length: 8).map { (number, 0, $0) }
        case 2:
            guard let length = readVarint().flatMap({ Int(exactly: $0) }) else { return nil }
            return readSlice(length: length).map { (number, 0, $0) }
        case 5: return readSlice(length: 4).map { (number, 0, $0) }
        default: return nil
        }
    }
}
