import CSodium

/// Subjects as parts of keys and messages.
///
/// Bytes of `A-Z a-z 0-9 . _ @ + = , / : -` stand for themselves, each other one is `%` and two digits in upper case. No
/// two texts are encoded alike, and nothing of a text ends a key, a hash tag, a word or a line.
extension SubjectID {
    /// Whose keys they are.
    public enum Kind: Hashable, Sendable {
        case user
        case group
    }

    /// How many bytes an encoded text has at most where it stands in a key as it is.
    public static let longestInKeys = 128

    /// The most bytes of a name in a key.
    private static let longestName = 6 + longestInKeys

    /// Gives `read` what a key calls the subject behind the prefix.
    ///
    /// A user is `<uuid>` or `user:<encoded>`, a group `group:<uuid>` or `group:<encoded>`. What is longer than
    /// ``longestInKeys`` encoded is `~` and the SHA-256 of the text in place of it: no encoded text holds a `~`.
    public func withKeyName<Value>(of kind: Kind, _ read: (UnsafeRawBufferPointer) -> Value) -> Value {
        // The commonest by far, on the hot path of a cluster.
        if kind == .user, isUUID { return withText(read) }
        return withUnsafeTemporaryAllocation(byteCount: Self.longestName, alignment: 1) { name in
            var length = 0
            func append(_ byte: UInt8) {
                name[length] = byte
                length += 1
            }
            func append(_ text: StaticString) {
                for index in 0..<text.utf8CodeUnitCount { append(text.utf8Start[index]) }
            }
            switch kind {
            case .user: append("user:")
            case .group: append("group:")
            }
            withText { text in
                if Self.encodedLength(text) <= Self.longestInKeys {
                    for byte in text { Self.encode(byte, append) }
                } else {
                    append("~")
                    for byte in Self.sha256(text) { Self.writeDigits(byte, "0123456789abcdef", append) }
                }
            }
            return read(UnsafeRawBufferPointer(rebasing: name[..<length]))
        }
    }

    /// What a key calls the subject behind the prefix.
    public func keyName(of kind: Kind) -> String { withKeyName(of: kind) { String(decoding: $0, as: UTF8.self) } }

    /// The whole text encoded, at most three times as long: what ``init(encoded:)`` reads.
    public var encoded: String {
        withText { text in
            var bytes: [UInt8] = []
            bytes.reserveCapacity(Self.encodedLength(text))
            for byte in text { Self.encode(byte) { bytes.append($0) } }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// Reads ``encoded``; nil for anything else.
    public init?(encoded: some StringProtocol) {
        guard encoded.utf8.count <= 3 * Self.textLengths.upperBound else { return nil }
        var bytes: [UInt8] = []
        var left = Substring(encoded).utf8[...]
        while let byte = left.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let digits = String(left.prefix(2)), digits.utf8.count == 2, let value = UInt8(digits, radix: 16)
            else { return nil }
            bytes.append(value)
            left = left.dropFirst(2)
        }
        // Whatever is written otherwise than here was not written here.
        guard let id = bytes.withUnsafeBytes({ Self($0) }), id.encoded == encoded else { return nil }
        self = id
    }

    /// Appends a text as ``WindowValues`` writes it.
    static func append(_ text: UnsafeRawBufferPointer, asValueTo bytes: inout [UInt8]) {
        let start = bytes.count
        for byte in text {
            if separatesValues(byte) {
                bytes.append(UInt8(ascii: "%"))
                writeDigits(byte, "0123456789ABCDEF") { bytes.append($0) }
            } else {
                encode(byte) { bytes.append($0) }
            }
        }
        guard bytes.count - start > WindowValues.longestText else { return }
        bytes.removeSubrange(start...)
        bytes += digest(of: text)
    }

    /// What stands in a key for a text that is too long for it: `~` and its SHA-256 in 64 digits.
    static func digest(of text: UnsafeRawBufferPointer) -> [UInt8] {
        var digest = [UInt8(ascii: "~")]
        for byte in sha256(text) { writeDigits(byte, "0123456789abcdef") { digest.append($0) } }
        return digest
    }

    /// Whether a byte parts names, values and pairs, or a key's parts.
    private static func separatesValues(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "=") || byte == UInt8(ascii: ",") || byte == UInt8(ascii: ":")
    }

    /// The SHA-256 of the text, of a UUID in lower case.
    public var sha256: [UInt8] { withText(Self.sha256) }

    private static func sha256(_ text: UnsafeRawBufferPointer) -> [UInt8] {
        var hash = [UInt8](repeating: 0, count: Int(crypto_hash_sha256_BYTES))
        // It cannot fail: it reads memory and writes memory.
        _ = crypto_hash_sha256(&hash, text.bindMemory(to: UInt8.self).baseAddress, UInt64(text.count))
        return hash
    }

    private static func encodedLength(_ text: UnsafeRawBufferPointer) -> Int {
        text.reduce(0) { $0 + (isPlain($1) ? 1 : 3) }
    }

    private static func encode(_ byte: UInt8, _ append: (UInt8) -> Void) {
        guard !isPlain(byte) else { return append(byte) }
        append(UInt8(ascii: "%"))
        writeDigits(byte, "0123456789ABCDEF", append)
    }

    private static func writeDigits(_ byte: UInt8, _ digits: StaticString, _ append: (UInt8) -> Void) {
        append(digits.utf8Start[Int(byte >> 4)])
        append(digits.utf8Start[Int(byte & 15)])
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        // `+ , - . / 0-9 :`
        case UInt8(ascii: "+")...UInt8(ascii: ":"): true
        case UInt8(ascii: "_"), UInt8(ascii: "@"), UInt8(ascii: "="): true
        default: false
        }
    }
}

extension SubjectID: CustomStringConvertible {
    /// ``encoded``, which is harmless wherever it stands: in a key, a message, a sentence, a log line.
    public var description: String { encoded }
}
