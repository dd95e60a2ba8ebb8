public import NIOCore

extension ByteBuffer {
    /// Writes a whole command: an array of bulk strings, as the RESP specification has clients send them.
    ///
    /// For commands off the hot path; a check's own command is laid out by ``writeRESPArray(count:)`` and
    /// ``writeRESPBulk(_:)`` on its parts.
    public mutating func writeRESPCommand(_ arguments: [String]) {
        writeRESPArray(count: arguments.count)
        for argument in arguments { writeRESPBulk(argument.utf8) }
    }

    /// Writes the header of an array of `count` elements.
    public mutating func writeRESPArray(count: Int) {
        writeRESPHeader(0x2a, count)
    }

    /// Writes a bulk string.
    public mutating func writeRESPBulk(_ bytes: some Collection<UInt8>) {
        writeRESPHeader(0x24, bytes.count)
        writeBytes(bytes)
        writeInteger(0x0d0a, as: UInt16.self)
    }

    /// Writes a number as the bulk string of its decimal text.
    public mutating func writeRESPBulk(decimal value: Int) {
        if value >= 0, value < 10 {
            // "$1\r\n", one digit, "\r\n" and a byte that the next write takes back: by far the commonest cost.
            writeInteger(0x2431_0d0a_0000_0000 | UInt64(0x30 + value) << 24 | 0x0d_0a00)
            moveWriterIndex(to: writerIndex - 1)
        } else {
            writeRESPBulk(String(value).utf8)
        }
    }

    private mutating func writeRESPHeader(_ type: UInt8, _ count: Int) {
        var text = UInt64(type)
        var length = 1
        if count < 10 {
            text = text << 8 | UInt64(0x30 + count)
            length = 2
        } else if count < 100 {
            text = text << 16 | UInt64(0x30 + count / 10) << 8 | UInt64(0x30 + count % 10)
            length = 3
        } else {
            writeInteger(type)
            writeString(String(count))
            writeInteger(0x0d0a, as: UInt16.self)
            return
        }
        // One write, of which the next one takes the end back, in place of one for each byte.
        writeInteger((text << 16 | 0x0d0a) << UInt64(48 - 8 * length))
        moveWriterIndex(to: writerIndex - 6 + length)
    }
}
