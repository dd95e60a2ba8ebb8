/// A text that is compared byte by byte: Swift's own comparison takes equivalent forms of Unicode for one text, where Envoy
/// and Redis know bytes alone.
struct ExactText: Hashable, Sendable {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (left: Self, right: Self) -> Bool {
        left.text.utf8.count == right.text.utf8.count && left.text.utf8.elementsEqual(right.text.utf8)
    }

    func hash(into hasher: inout Hasher) {
        let isContiguous: Void? = text.utf8.withContiguousStorageIfAvailable {
            hasher.combine(bytes: UnsafeRawBufferPointer($0))
        }
        if isContiguous == nil { for byte in text.utf8 { hasher.combine(byte) } }
        // So that the bytes of two texts behind one another are not those of two others.
        hasher.combine(UInt8.max)
    }
}
