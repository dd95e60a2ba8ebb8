extension UserID {
    /// Stands for the user where the UUID itself must not: the first 16 hexadecimal digits of the SHA-256 (FIPS 180-4)
    /// of the canonical text in lower case.
    ///
    /// No key goes into it, so that every replica, every log file and `sha256sum` agree. Who has a UUID can tell its
    /// digest; nobody finds the 122 random bits of a UUID from it.
    public var digest: String {
        // The text and SHA-256's padding are exactly one block: 36 bytes, a bit, zeros, and the length in bits.
        let block = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 4) { bytes in
            bytes.initializeMemory(as: UInt8.self, repeating: 0)
            if let text = bytes.baseAddress { write(to: text) }
            bytes[Self.textLength] = 0x80
            bytes.storeBytes(of: UInt16(Self.textLength * 8).bigEndian, toByteOffset: 62, as: UInt16.self)
            return (0..<16).map { UInt32(bigEndian: bytes.load(fromByteOffset: $0 * 4, as: UInt32.self)) }
        }
        return sha256OfOneBlock(block).prefix(2).map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.utf8.count) + digits
        }.joined()
    }
}

/// SHA-256 of a message that fills one block of 16 words with its padding.
private func sha256OfOneBlock(_ block: [UInt32]) -> [UInt32] {
    func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 { word &>> bits | word &<< (32 &- bits) }
    var schedule = block
    for index in 16..<64 {
        let old = schedule[index - 15]
        let recent = schedule[index - 2]
        let sigma0 = rotated(old, 7) ^ rotated(old, 18) ^ old &>> 3
        let sigma1 = rotated(recent, 17) ^ rotated(recent, 19) ^ recent &>> 10
        schedule.append(schedule[index - 16] &+ sigma0 &+ schedule[index - 7] &+ sigma1)
    }
    var (a, b, c, d) = (initialState[0], initialState[1], initialState[2], initialState[3])
    var (e, f, g, h) = (initialState[4], initialState[5], initialState[6], initialState[7])
    for index in 0..<64 {
        let choice = (e & f) ^ (~e & g)
        let majority = (a & b) ^ (a & c) ^ (b & c)
        let sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
        let sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
        let first = h &+ sum1 &+ choice &+ roundConstants[index] &+ schedule[index]
        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ sum0 &+ majority)
    }
    return zip(initialState, [a, b, c, d, e, f, g, h]).map { $0 &+ $1 }
}

/// The fractional parts of the square roots of the first 8 primes.
private let initialState: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
]

/// The fractional parts of the cube roots of the first 64 primes.
private let roundConstants: [UInt32] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
]
