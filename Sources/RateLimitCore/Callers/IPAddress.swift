import Glibc

/// An IP address. An IPv4 address and the IPv6 address that maps it (`::ffff:192.0.2.7`) are the same: a socket that takes
/// both families names its IPv4 peers by the latter.
public struct IPAddress: Hashable, Sendable {
    /// The first 64 bits of the IPv6 address.
    let high: UInt64
    /// The last 64 bits.
    let low: UInt64

    /// How many bytes a text of one has at most.
    private static let longestText = 45

    /// Makes an address of its 16 bytes.
    ///
    /// - Precondition: there are 16.
    public init(ipv6 bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == 16)
        high = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
        low = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    /// Makes an IPv4 address of its 32 bits.
    public init(ipv4 bits: UInt32) {
        high = 0
        low = 0xffff << 32 | UInt64(bits)
    }

    /// Reads an address of either family as it is written without brackets, port and zone; nil for any other text.
    public init?(_ text: some StringProtocol) {
        // A C string would end at a NUL.
        guard text.utf8.count <= Self.longestText, !text.utf8.contains(0) else { return nil }
        var bits = in_addr()
        if inet_pton(AF_INET, String(text), &bits) == 1 {
            self.init(ipv4: UInt32(bigEndian: bits.s_addr))
            return
        }
        var bytes = in6_addr()
        guard inet_pton(AF_INET6, String(text), &bytes) == 1 else { return nil }
        self = withUnsafeBytes(of: bytes) { Self(ipv6: $0) }
    }

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Whether it is an IPv4 address.
    public var isIPv4: Bool { high == 0 && low >> 32 == 0xffff }

    /// Its first bits, of the 128 of an IPv6 address, with zeros behind them.
    func prefix(_ length: Int) -> IPAddress {
        precondition(0...128 ~= length)
        // A shift by all bits gives 0 in Swift.
        return IPAddress(
            high: high & ~(UInt64.max >> UInt64(min(length, 64))),
            low: low & ~(UInt64.max >> UInt64(max(length - 64, 0))))
    }
}

extension IPAddress: CustomStringConvertible {
    /// As it is usually written: `192.0.2.7`, `2001:db8::1` (RFC 5952).
    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        // It cannot fail: the family is known, and there is room for any address.
        if isIPv4 {
            var bits = in_addr(s_addr: UInt32(truncatingIfNeeded: low).bigEndian)
            _ = inet_ntop(AF_INET, &bits, &text, socklen_t(text.count))
        } else {
            var halves = (high.bigEndian, low.bigEndian)
            _ = inet_ntop(AF_INET6, &halves, &text, socklen_t(text.count))
        }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The addresses that begin with the same bits, as `10.0.0.0/8`.
public struct AddressRange: Hashable, Sendable, CustomStringConvertible {
    /// The first of them.
    public let first: IPAddress
    /// How many bits they have in common, of the 128 of an IPv6 address.
    let prefixLength: Int

    /// Why a text is no range.
    public enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        /// It is no address with the length of a prefix behind it, or without.
        case malformed(String)
        /// The address has bits behind the prefix, so that it may not be what was meant.
        case bitsBehindPrefix(String, range: String)

        /// What is wrong.
        public var description: String {
            switch self {
            case .malformed(let text): "\(text) is no address and no range of addresses"
            case .bitsBehindPrefix(let text, let range): "\(text) has bits behind its prefix; the range is \(range)"
            }
        }
    }

    /// Reads an address, or one with the length of a prefix: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
    public init(_ text: some StringProtocol) throws(Problem) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else { throw .malformed(String(text)) }
        // One that is written as IPv6 counts all bits, also where it maps an IPv4 address.
        let isIPv4 = address.isIPv4 && !parts[0].utf8.contains(UInt8(ascii: ":"))
        var length = 128
        if parts.count == 2 {
            let digits = parts[1].utf8
            guard 1...3 ~= digits.count, digits.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }),
                digits.first != UInt8(ascii: "0") || digits.count == 1, let number = Int(parts[1]),
                number <= (isIPv4 ? 32 : 128)
            else { throw .malformed(String(text)) }
            length = isIPv4 ? 96 + number : number
        }
        first = address.prefix(length)
        prefixLength = length
        guard first == address else { throw .bitsBehindPrefix(String(text), range: description) }
    }

    /// Whether an address is in it; none of the other family is.
    public func contains(_ address: IPAddress) -> Bool {
        address.isIPv4 == isIPv4 && address.prefix(prefixLength) == first
    }

    private var isIPv4: Bool { first.isIPv4 && prefixLength >= 96 }

    /// The range as it is read, of one address without a prefix.
    public var description: String {
        prefixLength == 128 ? "\(first)" : "\(first)/\(isIPv4 ? prefixLength - 96 : prefixLength)"
    }
}
