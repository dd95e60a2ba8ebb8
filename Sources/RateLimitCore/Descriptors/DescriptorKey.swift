/// What a descriptor's window is called behind the prefix of all keys: bounded, printable, and no two windows alike.
///
/// `descriptor:<domain>:<key>=<value>,<key>=<value>`, in the descriptor's order; a quota that the proxy gives has a window of
/// its own, which ends in `:<multiplier>-<unit>`. Domain, keys and values are written as those of ``WindowValues``: what is no
/// letter, digit or one of . _ @ + / - is `%` and two digits, and a text longer than ``WindowValues/longestText`` then is `~` and
/// its SHA-256. A value with a plain `*` is a configuration's that shares one window. Pairs that are longer than
/// ``longestPairs`` together are `~` and the SHA-256 of what they would be.
///
/// No other key of ours begins so, none holds a brace, and so nobody chooses a hash tag.
public struct DescriptorKey: Hashable, Sendable {
    /// The text, ASCII.
    public let text: String

    /// The most bytes of all pairs together where they stand as they are.
    public static let longestPairs = 512
    /// The most bytes of ``text``.
    public static let longest =
        "descriptor::".utf8.count + 65 + longestPairs + ":4294967295-minute".utf8.count

    init(text: String) { self.text = text }

    /// Names a window of a domain.
    ///
    /// - Parameters:
    ///   - domain: what ``start(of:)`` says.
    ///   - shared: for each entry what stands for its value, where all values that a `*` matches share one window; empty
    ///     where no entry has that.
    ///   - quota: what the proxy gives with the call in place of the configuration's.
    init(_ entries: [DescriptorEntry], in domain: [UInt8], shared: [[UInt8]?] = [], quota: DescriptorQuota? = nil) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(domain.count + 64 * (1 + entries.count))
        bytes += domain
        for (index, entry) in entries.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            Self.append(entry.key, to: &bytes)
            bytes.append(UInt8(ascii: "="))
            if index < shared.count, let value = shared[index] {
                bytes += value
            } else {
                Self.append(entry.value, to: &bytes)
            }
        }
        if bytes.count - domain.count > Self.longestPairs {
            let digest = bytes[domain.count...].withUnsafeBytes { SubjectID.digest(of: $0) }
            bytes.removeSubrange(domain.count...)
            bytes += digest
        }
        if let quota { bytes += ":\(quota.multiplier)-\(quota.unit.text)".utf8 }
        text = String(decoding: bytes, as: UTF8.self)
    }

    /// What the keys of a domain's windows begin with.
    static func start(of domain: String) -> [UInt8] {
        var bytes = Array("descriptor:".utf8)
        append(domain, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        return bytes
    }

    /// What stands in a key for all values that a configuration's value with `*` matches.
    static func shared(_ value: String) -> [UInt8] {
        var bytes: [UInt8] = []
        let parts = value.utf8.split(separator: WildcardPattern.mark, omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if index > 0 { bytes.append(WildcardPattern.mark) }
            append(String(decoding: part, as: UTF8.self), to: &bytes)
        }
        return bytes
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        var text = text
        text.withUTF8 { SubjectID.append(UnsafeRawBufferPointer($0), asValueTo: &bytes) }
    }
}
