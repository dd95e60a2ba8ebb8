import NIOCore

/// Writing protobuf messages, field by field. As proto3 has it, a number of 0 and an empty text are left out.
extension ByteBuffer {
    /// Writes a number.
    mutating func writeField(_ field: Int, number value: UInt64) {
        guard value != 0 else { return }
        writeTag(field, 0)
        writeVarint(value)
    }

    /// Writes a number that may be below 0: in ten bytes then, as `int32` and `int64` are.
    mutating func writeField(_ field: Int, number value: Int) {
        writeField(field, number: UInt64(bitPattern: Int64(value)))
    }

    /// Writes a number also where it is 0, as one of several alternatives has to be.
    mutating func writeField(_ field: Int, alternative value: UInt64) {
        writeTag(field, 0)
        writeVarint(value)
    }

    /// Writes a `double`, also 0.
    mutating func writeField(_ field: Int, alternative value: Double) {
        writeTag(field, 1)
        writeInteger(value.bitPattern, endianness: .little)
    }

    /// Writes a text.
    mutating func writeField(_ field: Int, text: String) {
        guard !text.isEmpty else { return }
        writeTag(field, 2)
        writeVarint(UInt64(text.utf8.count))
        writeString(text)
    }

    /// Writes a message, also an empty one.
    mutating func writeField(_ field: Int, message: (inout ByteBuffer) -> Void) {
        writeTag(field, 2)
        let place = writerIndex
        // Most are below 128 bytes, and their length needs one.
        writeInteger(UInt8(0))
        message(&self)
        let length = writerIndex - place - 1
        if length >= 0x80 {
            let more = Self.varintLength(UInt64(length)) - 1
            writeRepeatingByte(0, count: more)
            let start = place + 1 - readerIndex
            withUnsafeMutableReadableBytes { bytes in
                let source = UnsafeRawBufferPointer(rebasing: bytes[start..<start + length])
                // The two overlap, which this allows.
                UnsafeMutableRawBufferPointer(rebasing: bytes[(start + more)...]).copyMemory(from: source)
            }
        }
        setVarint(UInt64(length), at: place)
    }

    private mutating func writeTag(_ field: Int, _ type: Int) { writeVarint(UInt64(field << 3 | type)) }

    private mutating func writeVarint(_ value: UInt64) {
        moveWriterIndex(forwardBy: setVarint(value, at: writerIndex))
    }

    @discardableResult
    private mutating func setVarint(_ value: UInt64, at place: Int) -> Int {
        var rest = value
        var end = place
        while rest >= 0x80 {
            setInteger(UInt8(truncatingIfNeeded: rest) | 0x80, at: end)
            rest >>= 7
            end += 1
        }
        setInteger(UInt8(truncatingIfNeeded: rest), at: end)
        return end + 1 - place
    }

    private static func varintLength(_ value: UInt64) -> Int {
        max(1, (64 - value.leadingZeroBitCount + 6) / 7)
    }
}
