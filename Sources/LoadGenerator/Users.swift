/// A fixed population of users, each a canonical lower-case UUID, made from a seed: the same seed gives the same users.
public struct Users: Sendable {
    /// Bytes of a canonical UUID.
    static let textLength = 36
    /// The most users a population may have.
    public static let maximumCount = 1_000_000

    /// How the next user is picked.
    public enum Order: Sendable {
        /// One after the other, then from the start again.
        case roundRobin
        /// Each with the same chance, by a generator with a seed of its own: every run picks alike.
        case random
    }

    /// How many there are.
    public let count: Int
    /// How the next one is picked.
    public let order: Order
    /// The texts, one after the other, 36 bytes each.
    let text: [UInt8]

    /// - Parameters:
    ///   - count: 1 to 1,000,000; each costs 36 bytes of memory.
    ///   - seed: any number; different seeds give different users.
    public init(count: Int, order: Order = .random, seed: UInt64 = 1) throws(LoadError) {
        guard (1...Self.maximumCount).contains(count) else {
            throw .invalid(option: "users", value: String(count), accepted: "1 to 1,000,000")
        }
        self.count = count
        self.order = order
        var numbers = SplitMix(state: seed)
        var text = [UInt8]()
        text.reserveCapacity(count * Self.textLength)
        for _ in 0..<count { Self.append(numbers.next(), numbers.next(), to: &text) }
        self.text = text
    }

    /// The text of one user.
    public subscript(index: Int) -> String {
        String(decoding: text[(index * Self.textLength)..<((index + 1) * Self.textLength)], as: UTF8.self)
    }

    /// Writes 128 bits as a UUID of version 4.
    private static func append(_ high: UInt64, _ low: UInt64, to text: inout [UInt8]) {
        let bits = (high & 0xffff_ffff_ffff_0fff | 0x4000, low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000)
        for digit in 0..<32 {
            if digit == 8 || digit == 12 || digit == 16 || digit == 20 { text.append(UInt8(ascii: "-")) }
            let half = digit < 16 ? bits.0 : bits.1
            let value = UInt8(truncatingIfNeeded: half >> UInt64(60 - 4 * (digit % 16))) & 15
            text.append(value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10)
        }
    }
}

/// SplitMix64: a generator of one addition and two multiplications, good enough to pick users.
struct SplitMix: Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// A number below a bound, by the high half of the product: no division.
    mutating func next(below bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }
}
