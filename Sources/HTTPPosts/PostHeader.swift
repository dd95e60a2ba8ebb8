/// A header that is sent with a body. Its value may be a secret, as an API key is.
package struct PostHeader: Hashable, Sendable {
    /// A token, in lower case: names that differ in case alone are the same.
    package let name: String
    let value: String

    /// The longest name or value, in bytes.
    package static let maximumBytes = 8_192

    /// Those that the post itself sends.
    private static let reserved: Set = [
        "connection", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding", "upgrade",
    ]

    /// A header whose name is a token, and whose value can add no line to a request.
    package init(name: String, value: String) throws(PostHeaderError) {
        let isToken = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"):
                true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
        guard !name.isEmpty, isToken, name.utf8.count <= Self.maximumBytes else { throw .name }
        guard !Self.reserved.contains(name.lowercased()) else { throw .reserved }
        guard value.utf8.count <= Self.maximumBytes, value.utf8.allSatisfy({ $0 == 0x09 || (0x20...0x7e).contains($0) })
        else { throw .value }
        self.name = name.lowercased()
        self.value = value
    }
}

extension PostHeader: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The name alone.
    package var description: String { "\(name): ***" }

    /// The same.
    package var debugDescription: String { description }

    /// Empty: the value must not be found by `dump`.
    package var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// Why something is no header that can be sent.
package enum PostHeaderError: Error, Hashable, Sendable {
    case name, reserved, value
}

extension PostHeaderError: CustomStringConvertible {
    /// The reason, which stands behind "cannot …: " and repeats nothing of the value.
    package var description: String {
        switch self {
        case .name: "a header's name holds letters, digits and !#$%&'*+-.^_`|~ only"
        case .reserved: "this header is set for each request by itself"
        case .value: "a header's value holds visible ASCII characters, blanks and tabs only, at most 8192"
        }
    }
}
