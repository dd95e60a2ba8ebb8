/// One reply of Redis, flat: an array stands before its elements, in the order they came.
///
/// A reply is lent to its receiver for the length of one call. Keep what you need, not the reply: the reader writes
/// the next one into the same memory.
public struct Reply: Sendable {
    /// One element of a reply.
    public enum Element: Hashable, Sendable {
        /// `:`, a 64-bit integer.
        case integer(Int)
        /// `$`, a bulk string: where its bytes are in ``Reply/bytes``.
        case bulk(Range<Int>)
        /// `+`, a status such as `OK`.
        case status(Range<Int>)
        /// `-`, an error such as `NOSCRIPT …`; it may also stand inside an array.
        case error(Range<Int>)
        /// A missing value.
        case null
        /// `*`: so many elements follow, nested ones counted by their own arrays.
        case array(count: Int)
    }

    /// The elements, arrays before their contents.
    public internal(set) var elements: [Element] = []
    /// The bytes of all strings, one after the other.
    public internal(set) var bytes: [UInt8] = []

    /// An empty reply, for a reader to fill.
    public init() {}

    /// The text of a string, status or error; nil for another element.
    public func text(of element: Element) -> String? {
        switch element {
        case .bulk(let range), .status(let range), .error(let range): String(decoding: bytes[range], as: UTF8.self)
        case .integer, .null, .array: nil
        }
    }

    /// The error's text, where the whole reply is one.
    public var errorText: String? {
        guard case .error(let range) = elements.first else { return nil }
        return text(of: .error(range))
    }

    /// Whether this answers PING; on a connection that has subscribed the answer is an array.
    var isPong: Bool {
        let isArray = if case .array(count: 2)? = elements.first { true } else { false }
        return text(of: elements[isArray ? 1 : 0])?.uppercased() == "PONG"
    }

    /// Whether this answers ROLE, and the server is a master.
    var isRoleOfMaster: Bool {
        guard elements.count > 1, case .bulk(let range) = elements[1] else { return false }
        return bytes[range].elementsEqual("master".utf8)
    }

    mutating func removeAll() {
        elements.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }
}
