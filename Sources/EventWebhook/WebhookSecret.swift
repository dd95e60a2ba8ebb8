import CSodium

/// The secret by which a receiver tells our events from others', as Standard Webhooks have it.
public struct WebhookSecret: Hashable, Sendable {
    /// How many bytes the key has.
    public static let lengths = 24...64
    /// What the text begins with.
    public static let prefix = "whsec_"

    private let key: [UInt8]

    /// Reads `whsec_` and the key in base64; nil for anything else.
    public init?(_ text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let digits = Array(text.utf8.dropFirst(Self.prefix.utf8.count)).map { CChar(bitPattern: $0) }
        // One byte more than the longest, so that what is longer is seen and not cut.
        var bytes = [UInt8](repeating: 0, count: Self.lengths.upperBound + 1)
        var count = 0
        let status = sodium_base642bin(
            &bytes, bytes.count, digits, digits.count, nil, &count, nil, sodium_base64_VARIANT_ORIGINAL)
        guard status == 0, Self.lengths.contains(count) else { return nil }
        key = Array(bytes.prefix(count))
    }

    /// The header `webhook-signature` of a body: `v1,` and the HMAC-SHA256 of id, time and body in base64.
    func signature(of body: [UInt8], id: String, at unixSeconds: Int) -> String {
        var state = crypto_auth_hmacsha256_state()
        let start = Array("\(id).\(unixSeconds).".utf8)
        crypto_auth_hmacsha256_init(&state, key, key.count)
        crypto_auth_hmacsha256_update(&state, start, UInt64(start.count))
        crypto_auth_hmacsha256_update(&state, body, UInt64(body.count))
        var hash = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
        crypto_auth_hmacsha256_final(&state, &hash)
        // 44 characters for 32 bytes, and the zero behind them.
        var text = [CChar](repeating: 0, count: 45)
        sodium_bin2base64(&text, text.count, hash, hash.count, sodium_base64_VARIANT_ORIGINAL)
        return "v1," + String(decoding: text.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension WebhookSecret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Always `***`.
    public var description: String { "***" }

    /// Always `***`.
    public var debugDescription: String { "***" }

    /// Empty, so that `dump` and reflection do not find the key.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
