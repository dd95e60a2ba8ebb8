/// One of the 16,384 parts into which a Redis Cluster divides its keys.
package struct HashSlot: Hashable, Sendable {
    /// How many there are.
    package static let count = 16_384

    /// 0 to 16,383.
    package let number: Int

    /// Makes the slot of a number; nil outside the range.
    package init?(_ number: Int) {
        guard (0..<Self.count).contains(number) else { return nil }
        self.number = number
    }

    /// The slot of the checksum of a key, or of its hash tag.
    package init(_ checksum: CRC16) { number = Int(checksum.value) % Self.count }

    /// The slot of a key: of the text between its first `{` and the next `}` where there is any, else of all of it.
    package init(key: some Collection<UInt8>) {
        var checksum = CRC16()
        if let open = key.firstIndex(of: UInt8(ascii: "{")) {
            let tag = key[key.index(after: open)...].prefix { $0 != UInt8(ascii: "}") }
            if !tag.isEmpty, tag.endIndex < key.endIndex {
                checksum.update(Array(tag))
                self.init(checksum)
                return
            }
        }
        checksum.update(Array(key))
        self.init(checksum)
    }
}

/// CRC-16/XMODEM, by which a cluster tells slots: polynomial 0x1021, begun at 0, nothing reflected.
package struct CRC16: Sendable {
    /// The checksum of the bytes so far.
    package private(set) var value: UInt16 = 0

    private static let table: [UInt16] = (0..<256).map { byte in
        (0..<8).reduce(UInt16(byte) << 8) { rest, _ in rest & 0x8000 == 0 ? rest << 1 : rest << 1 ^ 0x1021 }
    }

    /// The checksum of no bytes.
    package init() {}

    /// Takes further bytes.
    package mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// Takes further bytes.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        value = Self.table.withUnsafeBufferPointer { table in
            bytes.reduce(value) { $0 << 8 ^ table[Int(UInt8(truncatingIfNeeded: $0 >> 8) ^ $1)] }
        }
    }
}
