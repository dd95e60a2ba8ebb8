import CSodium

/// The key under which tokens are hashed: whoever sees a hash, and has not the key, cannot try tokens against it.
public struct TokenKey: Hashable, Sendable {
    /// How many bytes the secret has at least: fewer could be found by trying.
    public static let shortestSecret = 16

    private let bytes: [UInt8]

    /// Makes the key of a secret; nil where that is too short.
    public init?(secret: String) {
        guard secret.utf8.count >= Self.shortestSecret else { return nil }
        bytes = Self.hash(Array(secret.utf8), key: [], length: 32)
    }

    /// Who has a token: ``CallerRules/keyPrefix`` and 32 hexadecimal digits.
    func subject(ofToken token: String) -> SubjectID {
        let digits = Self.hash(Array(token.utf8), key: bytes, length: 16).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        guard let subject = SubjectID(CallerRules.keyPrefix + digits.joined()) else {
            preconditionFailure("a text of ASCII that is so short is a subject")
        }
        return subject
    }

    private static func hash(_ bytes: [UInt8], key: [UInt8], length: Int) -> [UInt8] {
        var hash = [UInt8](repeating: 0, count: length)
        // It cannot fail on lengths that libsodium knows: hashes of 16 to 64 bytes, keys of none or 16 to 64.
        let status = crypto_generichash(&hash, length, bytes, UInt64(bytes.count), key, key.count)
        precondition(status == 0)
        return hash
    }
}

extension TokenKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Always `***`.
    public var description: String { "***" }

    /// Always `***`.
    public var debugDescription: String { "***" }

    /// Empty, so that `dump` and reflection do not find the key.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
