public import RateLimitCore

/// All that a limits file says: limits, prices, and how they are applied.
public struct LimitsFileContent: Hashable, Sendable {
    /// The limits, in the order of the file.
    public let limits: LimitSet
    /// The prices; without any in the file, models are unknown and denied where a limit of spend needs a price.
    public let prices: PriceTable
    /// Which of a user's groups gives a quota.
    public let groupPolicy: GroupPolicy
    /// How long a lease lasts that is not renewed and does not say how long, in milliseconds.
    public let leaseMilliseconds: Int
    /// How long a lease may ask to last, in milliseconds.
    public let longestLeaseMilliseconds: Int
    /// For how long a lease that lapsed may still be settled, and the id of a usage is known, in milliseconds.
    public let rememberMilliseconds: Int

    /// The bounds of a lease's length, and of how long it is remembered, in milliseconds: from a second to a day.
    public static let leases = 1_000...86_400_000

    /// What holds without a file.
    public static let none = LimitsFileContent(
        limits: .empty, prices: PricesSection.standard, groupPolicy: .min, leaseMilliseconds: 60_000,
        longestLeaseMilliseconds: leases.upperBound, rememberMilliseconds: 3_600_000)

    private init(
        limits: LimitSet, prices: PriceTable, groupPolicy: GroupPolicy, leaseMilliseconds: Int,
        longestLeaseMilliseconds: Int, rememberMilliseconds: Int
    ) {
        self.limits = limits
        self.prices = prices
        self.groupPolicy = groupPolicy
        self.leaseMilliseconds = leaseMilliseconds
        self.longestLeaseMilliseconds = longestLeaseMilliseconds
        self.rememberMilliseconds = rememberMilliseconds
    }

    /// Reads the bytes of a file, YAML or JSON, of at most 1 MiB.
    ///
    /// - Parameters:
    ///   - bytes: the file.
    ///   - timeZones: where the time zones it names are found.
    /// - Throws: The first thing in the file that cannot be used; nothing of such a file counts.
    public init(reading bytes: [UInt8], timeZones: TimeZoneFolder) throws(LimitsFileError) {
        let root = try MapReader(
            FileNode(reading: bytes), what: "the file", keys: ["limits", "prices", "group_policy", "lease"])
        limits =
            try root.value("limits").map { node throws(LimitsFileError) in
                try LimitsSection(timeZones: timeZones).limits(node)
            } ?? .empty
        prices = try root.value("prices").map(PricesSection.prices) ?? PricesSection.standard
        groupPolicy = try root.word("group_policy", standard: .min)
        let lease = try root.value("lease").map(Self.lease)
        leaseMilliseconds = lease?.usual ?? Self.none.leaseMilliseconds
        longestLeaseMilliseconds = lease?.longest ?? Self.none.longestLeaseMilliseconds
        rememberMilliseconds = lease?.remember ?? Self.none.rememberMilliseconds
    }

    private static func lease(_ node: FileNode) throws(LimitsFileError) -> (usual: Int, longest: Int, remember: Int) {
        let map = try MapReader(node, what: "lease", keys: ["ttl", "max_ttl", "remember"])
        func length(_ key: String) throws(LimitsFileError) -> (line: Int, milliseconds: Int)? {
            guard let value = try map.value(key) else { return nil }
            let milliseconds = try map.read(value, key, accepted: "lengths from 1s to 1d, such as 60s and 5m") {
                ValueText.milliseconds($0, in: leases)
            }
            return (value.line, milliseconds)
        }
        let longest = try length("max_ttl")?.milliseconds ?? none.longestLeaseMilliseconds
        let remember = try length("remember")?.milliseconds ?? none.rememberMilliseconds
        guard let usual = try length("ttl") else { return (min(none.leaseMilliseconds, longest), longest, remember) }
        guard usual.milliseconds <= longest else {
            throw LimitsFileError(line: usual.line, "ttl of lease is above its max_ttl")
        }
        return (usual.milliseconds, longest, remember)
    }
}
