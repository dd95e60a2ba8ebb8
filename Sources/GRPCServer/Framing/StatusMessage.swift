/// The text of an error as the header `grpc-message` carries it.
enum StatusMessage {
    /// What is cut off behind.
    static let maximumBytes = 512

    /// Percent-encodes all but printable ASCII, and the percent sign.
    static func encoded(_ text: String) -> [UInt8] {
        var encoded: [UInt8] = []
        for byte in text.utf8.prefix(maximumBytes) {
            if byte >= 0x20, byte <= 0x7e, byte != UInt8(ascii: "%") {
                encoded.append(byte)
            } else {
                encoded.append(UInt8(ascii: "%"))
                for nibble in [byte >> 4, byte & 15] {
                    encoded.append(nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "A") + nibble - 10)
                }
            }
        }
        // Spaces at the ends would make the field one that HTTP/2 does not allow.
        while encoded.last == UInt8(ascii: " ") { encoded.removeLast() }
        return Array(encoded.drop { $0 == UInt8(ascii: " ") })
    }
}
