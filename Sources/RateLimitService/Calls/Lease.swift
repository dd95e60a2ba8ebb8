public import RateLimitCore

/// What a gateway holds while a call is under way: an id, and what is needed to settle it in any replica.
///
/// Its text is opaque to gateways: in hexadecimal digits a version byte, the id, when it was given, the cost, whether it
/// is held for all, the limits that apply, the groups and the model. Nothing of it is secret or trusted: whoever may ask at the socket may do with a user's budget
/// what a forged lease could.
public struct Lease: Hashable, Sendable {
    /// How many bytes an id has.
    public static let idLength = 16
    /// The longest text: every limit, every group and the longest model.
    public static let maximumTextLength = 2_112

    /// The id, drawn at random.
    public let id: [UInt8]
    /// When it was given, in milliseconds since 1970; nil where an older version gave it.
    public let givenAtUnixMilliseconds: Int?
    /// What the call counts for in limits of requests.
    public let cost: Int
    /// The ids of the limits that applied when it was given.
    public let limits: [UInt32]
    /// The groups whose windows it is held in; none where no limit is theirs.
    public let groups: [UserID]
    /// Whether it is held in the windows of all.
    public let isGlobal: Bool
    /// The model the call named.
    public let model: String?

    /// Version 1 does not say when a lease was given.
    private static let versions: ClosedRange<UInt8> = 1...2

    /// Makes a lease with an id of its own.
    public init(
        givenAtUnixMilliseconds: Int? = nil, cost: Int, limits: [UInt32], groups: [UserID], isGlobal: Bool,
        model: String?, using random: inout some RandomNumberGenerator
    ) {
        id = (0..<Self.idLength).map { _ in UInt8.random(in: 0 ... .max, using: &random) }
        self.givenAtUnixMilliseconds = givenAtUnixMilliseconds
        self.cost = cost
        self.limits = limits
        self.groups = groups
        self.isGlobal = isGlobal
        self.model = model
    }

    /// Reads a lease's text; nil for anything that is none.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= Self.maximumTextLength, var reader = LeaseReader(text.utf8) else { return nil }
        guard let version = reader.byte(), Self.versions.contains(version), let id = reader.bytes(Self.idLength),
            let givenAt = version == 1 ? .some(nil) : reader.number(bytes: 6).map(Optional.some),
            let cost = reader.number(bytes: 4), Limit.costs.contains(cost), let isGlobal = reader.byte(), isGlobal <= 1,
            let limitCount = reader.byte(),
            limitCount <= LimitSet.maximumCount
        else { return nil }
        var limits: [UInt32] = []
        for _ in 0..<limitCount {
            guard let limit = reader.number(bytes: 4) else { return nil }
            limits.append(UInt32(limit))
        }
        guard let groupCount = reader.byte(), groupCount <= CallAttributes.maximumGroups else { return nil }
        var groups: [UserID] = []
        for _ in 0..<groupCount {
            guard let high = reader.word(), let low = reader.word() else { return nil }
            groups.append(UserID(high: high, low: low))
        }
        guard Set(groups).count == groups.count, let model = reader.rest() else { return nil }
        self.id = Array(id)
        givenAtUnixMilliseconds = givenAt
        self.cost = cost
        self.limits = limits
        self.groups = groups
        self.isGlobal = isGlobal == 1
        self.model = model.isEmpty ? nil : model
    }

    /// The text that gateways keep.
    public var text: String {
        var bytes = [givenAtUnixMilliseconds == nil ? Self.versions.lowerBound : Self.versions.upperBound] + id
        func append(_ value: UInt64, _ count: Int) {
            for shift in (0..<count).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * shift))) }
        }
        if let givenAtUnixMilliseconds { append(UInt64(max(0, givenAtUnixMilliseconds)), 6) }
        append(UInt64(cost), 4)
        bytes.append(isGlobal ? 1 : 0)
        bytes.append(UInt8(limits.count))
        for limit in limits { append(UInt64(limit), 4) }
        bytes.append(UInt8(groups.count))
        for group in groups {
            append(group.high, 8)
            append(group.low, 8)
        }
        bytes += (model ?? "").utf8
        return String(decoding: hexadecimalDigits(of: bytes), as: UTF8.self)
    }

    /// What Redis knows it by, in digits: it becomes a part of a key's name.
    var key: [UInt8] { hexadecimalDigits(of: id) }
}

/// Two digits for each byte, in lower case.
func hexadecimalDigits(of bytes: [UInt8]) -> [UInt8] {
    let digits = Array("0123456789abcdef".utf8)
    return bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}

/// Takes a lease's bytes apart, never past their end.
private struct LeaseReader {
    private var left: ArraySlice<UInt8> = []

    /// Reads the digits, two for each byte; nil where there is anything else.
    init?(_ text: some Collection<UInt8>) {
        guard text.count.isMultiple(of: 2) else { return nil }
        var high: Int?
        for digit in text {
            guard let value = Character(UnicodeScalar(digit)).hexDigitValue else { return nil }
            if let first = high {
                left.append(UInt8(first << 4 | value))
                high = nil
            } else {
                high = value
            }
        }
    }

    mutating func bytes(_ count: Int) -> ArraySlice<UInt8>? {
        guard left.count >= count else { return nil }
        defer { left = left.dropFirst(count) }
        return left.prefix(count)
    }

    mutating func byte() -> UInt8? { bytes(1)?.first }

    mutating func number(bytes count: Int) -> Int? { bytes(count).map { $0.reduce(0) { $0 << 8 | Int($1) } } }

    mutating func word() -> UInt64? { bytes(8).map { $0.reduce(0) { $0 << 8 | UInt64($1) } } }

    /// What is left, as text of a bounded length.
    mutating func rest() -> String? {
        guard left.count <= CallAttributes.maximumValueLength else { return nil }
        return String(validating: left, as: UTF8.self)
    }
}
