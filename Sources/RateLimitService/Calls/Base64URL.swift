/// Bytes as letters, digits, `-` and `_`, four for three (RFC 4648, section 5), without padding: one text for the same bytes.
enum Base64URL {
    private static let characters: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    /// The six bits that a character stands for; above 63 where it stands for none.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0xff, count: 256)
        for value in 0..<64 { values[Int(characters.utf8Start[value])] = UInt8(value) }
        return values
    }()

    /// How many characters stand for so many bytes.
    static func textLength(ofBytes count: Int) -> Int { (4 * count + 2) / 3 }

    /// Writes the characters that stand for some bytes; as many as ``textLength(ofBytes:)`` says.
    static func write(_ bytes: UnsafeRawBufferPointer, to text: UnsafeMutableRawBufferPointer) {
        precondition(text.count >= textLength(ofBytes: bytes.count))
        let characters = characters.utf8Start
        var place = 0
        var bits: UInt32 = 0
        var count: UInt32 = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                text[place] = characters[Int(bits >> count & 63)]
                place += 1
            }
        }
        if count > 0 { text[place] = characters[Int(bits << (6 - count) & 63)] }
    }

    /// Writes the bytes that a text stands for, and says how many; nil for anything that ``write(_:to:)`` does not write.
    static func read(_ text: UnsafeRawBufferPointer, to bytes: UnsafeMutableRawBufferPointer) -> Int? {
        precondition(bytes.count >= 3 * text.count / 4)
        return values.withUnsafeBufferPointer { values in
            var place = 0
            var bits: UInt32 = 0
            var count: UInt32 = 0
            for character in text {
                let value = values[Int(character)]
                guard value < 64 else { return nil }
                bits = bits << 6 | UInt32(value)
                count += 6
                guard count >= 8 else { continue }
                count -= 8
                bytes[place] = UInt8(truncatingIfNeeded: bits >> count)
                place += 1
            }
            // What is left of a last character stands for nothing, and is zero.
            return count < 6 && bits & (1 << count - 1) == 0 ? place : nil
        }
    }
}
