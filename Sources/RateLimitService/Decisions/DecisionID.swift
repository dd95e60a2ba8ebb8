import CSodium

/// Which lease, or which usage, a call is about.
public enum DecisionID: Hashable, Sendable {
    /// A lease.
    case lease(LeaseMark)
    /// A usage that its teller named.
    case usage(UsageDigest)
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
/// Redis tells by them whether a lease that it does not have has been ended, or was forgotten.
public struct LeaseInstants: Hashable, Sendable {
    /// What they may be: Redis keeps 48 bits.
    public static let bounds = 0...1 << 48 - 1
    /// Those of a lease that is not given yet, or of which nobody knows whether it was.
    public static let unknown = LeaseInstants(givenAtMilliseconds: 0, lapsesAtMilliseconds: 0)

    /// When it was given.
    public var givenAtMilliseconds: Int
    /// When it lapses, unless it is renewed.
    public var lapsesAtMilliseconds: Int

    /// Makes instants within ``bounds``.
    public init(givenAtMilliseconds: Int, lapsesAtMilliseconds: Int) {
        precondition(Self.bounds.contains(givenAtMilliseconds) && Self.bounds.contains(lapsesAtMilliseconds))
        self.givenAtMilliseconds = givenAtMilliseconds
        self.lapsesAtMilliseconds = lapsesAtMilliseconds
    }

    /// Those that count where several servers hold a part of the lease.
    public func latest(_ other: LeaseInstants) -> LeaseInstants {
        LeaseInstants(
            givenAtMilliseconds: max(givenAtMilliseconds, other.givenAtMilliseconds),
            lapsesAtMilliseconds: max(lapsesAtMilliseconds, other.lapsesAtMilliseconds))
    }
}

/// What stands for the id of a usage: the first 96 bits of its BLAKE2b hash, so that Redis can keep many of them.
public struct UsageDigest: Hashable, Sendable {
    /// How many bytes it has.
    public static let length = 12

    let bytes: [UInt8]

    /// The digest of an id of any length.
    public init(of id: [UInt8]) {
        // libsodium makes hashes of 16 bytes at least; it cannot fail on lengths that it knows.
        var hash = [UInt8](repeating: 0, count: 16)
        let status = crypto_generichash(&hash, hash.count, id, UInt64(id.count), nil, 0)
        precondition(status == 0)
        bytes = Array(hash.prefix(Self.length))
    }
}
