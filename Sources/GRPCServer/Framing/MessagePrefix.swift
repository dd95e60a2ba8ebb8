/// What stands before each message of gRPC's: a byte that says whether it is compressed, and its length.
struct MessagePrefix: Equatable {
    static let length = 5

    var isCompressed: Bool
    var messageLength: Int

    init(isCompressed: Bool = false, messageLength: Int) {
        self.isCompressed = isCompressed
        self.messageLength = messageLength
    }

    /// Reads a prefix; nil where not all of it is there.
    init?(_ bytes: UnsafePointer<UInt8>, available: Int) {
        guard available >= Self.length else { return nil }
        self.init { bytes[$0] }
    }

    /// Reads a prefix, byte by byte.
    init(byteAt: (Int) -> UInt8) {
        isCompressed = byteAt(0) != 0
        messageLength = (1..<Self.length).reduce(0) { $0 << 8 | Int(byteAt($1)) }
    }

    /// Appends it.
    func write(to store: inout ByteStore) {
        store.reserve(store.count + Self.length + messageLength)
        store.append(isCompressed ? 1 : 0)
        for shift in [24, 16, 8, 0] { store.append(UInt8(truncatingIfNeeded: messageLength >> shift)) }
    }
}
