import CSodium

/// What tells the contents of files apart, as a number that a metric can carry: the first 48 bits of the SHA-256 of the
/// files one behind the other, so that `sha256sum` tells an operator the same.
package struct ContentHash {
    private var state = crypto_hash_sha256_state()

    /// Of nothing yet.
    package init() { crypto_hash_sha256_init(&state) }

    /// Adds what comes next.
    package mutating func add(_ bytes: [UInt8]) {
        crypto_hash_sha256_update(&state, bytes, UInt64(bytes.count))
    }

    /// The number: from 0 to 2^48 - 1, which a `Double` holds exactly.
    package consuming func number() -> Int {
        var hash = [UInt8](repeating: 0, count: Int(crypto_hash_sha256_BYTES))
        crypto_hash_sha256_final(&state, &hash)
        return hash.prefix(6).reduce(0) { $0 << 8 | Int($1) }
    }
}
