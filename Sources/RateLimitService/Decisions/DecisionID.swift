import CSodium

/// Which lease, which usage, which refund or which check a call is about.
public enum DecisionID: Hashable, Sendable {
    /// A lease.
    case lease(LeaseMark)
    /// A usage that its teller named.
    case usage(UsageDigest)
    /// A check that whoever asks it named.
    case check(UsageDigest)
    /// A refund that its teller named.
    case refund(UsageDigest)
    /// A check that whoever asks it named, for one of its candidates, from 1: the check is admitted once, and for which of
    /// them is known.
    case candidate(UsageDigest, number: Int)
}

/// What Redis knows a lease by.
public struct LeaseMark: Hashable, Sendable {
    /// The id, drawn at random: no two leases that a user has at a time have the same.
    public var id: UInt64
    /// As Redis said when it gave or renewed the lease.
    public var instants: LeaseInstants

    /// Makes a mark.
    public init(id: UInt64, instants: LeaseInstants = .unknown) {
        self.id = id
        self.instants = instants
    }
}

/// When a lease was given and when it lapses, by the clock of the Redis server that holds it, in milliseconds since 1970.
///
/// Redis tells by them whether a lease that it does not have has been ended, or was lost.
public struct LeaseInstants: Hashable, Sendable {
    /// What they may be: Redis keeps 48 bits.
    public static let bounds = 0...1 << 48 - 1
    /// Those of a lease that is not given yet, or of which nobody knows whether it was.
    public static let unknown = LeaseInstants(givenAtMilliseconds: 0, lapsesAtMilliseconds: 0)

    /// By how much at most several servers, each of which holds a part of it, differ about when it was given.
    public static let spreads = 0...unknownSpread - 1
    /// What stands for a wider difference: such a lease is never taken for lost.
    public static let unknownSpread = 65_535

    /// When it was given; where several servers hold a part of it, the latest.
    public var givenAtMilliseconds: Int
    /// When it lapses, unless it is renewed.
    public var lapsesAtMilliseconds: Int
    /// How much earlier the first of several servers gave its part: within ``spreads``, or ``unknownSpread``.
    public private(set) var spreadMilliseconds: Int

    /// Makes instants within ``bounds``, with a difference of up to ``unknownSpread``.
    public init(givenAtMilliseconds: Int, lapsesAtMilliseconds: Int, spreadMilliseconds: Int = 0) {
        precondition(Self.bounds.contains(givenAtMilliseconds) && Self.bounds.contains(lapsesAtMilliseconds))
        precondition(0...Self.unknownSpread ~= spreadMilliseconds)
        self.givenAtMilliseconds = givenAtMilliseconds
        self.lapsesAtMilliseconds = lapsesAtMilliseconds
        self.spreadMilliseconds = spreadMilliseconds
    }

    /// The same where the lease was renewed: it was given when it was.
    public func renewed(until latest: LeaseInstants) -> LeaseInstants {
        var renewed = self
        renewed.lapsesAtMilliseconds = latest.lapsesAtMilliseconds
        return renewed
    }

    /// Those that count where several servers hold a part of the lease.
    public func latest(_ other: LeaseInstants) -> LeaseInstants {
        let given = max(givenAtMilliseconds, other.givenAtMilliseconds)
        let first = min(
            givenAtMilliseconds - spreadMilliseconds, other.givenAtMilliseconds - other.spreadMilliseconds)
        let isWide = max(spreadMilliseconds, other.spreadMilliseconds) == Self.unknownSpread
        return LeaseInstants(
            givenAtMilliseconds: given, lapsesAtMilliseconds: max(lapsesAtMilliseconds, other.lapsesAtMilliseconds),
            spreadMilliseconds: isWide ? Self.unknownSpread : min(given - first, Self.unknownSpread))
    }
}

/// What stands for the id of a usage, of a check or of a refund: the first 96 bits of its BLAKE2b hash, so that Redis can
/// keep many of them. The ids of the one are not those of the others: the hashes of checks' and refunds' have keys.
public struct UsageDigest: Hashable, Sendable {
    /// How many bytes it has.
    public static let length = 12

    let bytes: [UInt8]

    private static let checkKey = Array("llm-rate-limit check".utf8)
    private static let refundKey = Array("llm-rate-limit refund".utf8)

    /// The digest of a usage's id, of any length.
    public init(of id: [UInt8]) { self.init(of: id, key: []) }

    /// The digest of a check's id, of any length.
    public init(ofCheck id: [UInt8]) { self.init(of: id, key: Self.checkKey) }

    /// The digest of a refund's id, of any length: that of the usage that it takes back may be the same.
    public init(ofRefund id: [UInt8]) { self.init(of: id, key: Self.refundKey) }

    private init(of id: [UInt8], key: [UInt8]) {
        // libsodium makes hashes of 16 bytes at least, with keys of as many; it cannot fail on lengths that it knows.
        var hash = [UInt8](repeating: 0, count: 16)
        let status = crypto_generichash(&hash, hash.count, id, UInt64(id.count), key, key.count)
        precondition(status == 0)
        bytes = Array(hash.prefix(Self.length))
    }
}
