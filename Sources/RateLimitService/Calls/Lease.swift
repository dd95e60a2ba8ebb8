public import RateLimitCore

/// What a gateway holds while a call is under way: an id, and what is needed to settle it in any replica, whatever the
/// limits are by then.
///
/// Its text is opaque to gateways: in base64url (RFC 4648, section 5; no padding) a version byte, the id, when it was given
/// and when it lapses, the owner, the cost, in whose windows it is held, the groups, and what the call said about itself.
/// Nothing of it is secret or trusted: whoever
/// may ask at the socket may do with a user's budget what a forged lease could.
public struct Lease: Hashable, Sendable {
    /// How many bytes an id has.
    public static let idLength = 8
    /// How many labels it carries, the first by name: a call has those that limits name.
    public static let maximumLabels = 16
    /// The longest text: the most groups, and the longest owner, groups, model, provider and labels. With it a body is well
    /// below what one may have.
    public static let maximumTextLength: Int = {
        let subject = 2 + SubjectID.textLengths.upperBound
        return (4 * (27 + subject * (1 + CallAttributes.maximumGroups) + maximumTextBytes) + 2) / 3
    }()

    private static let maximumTextBytes: Int = {
        let value = 2 + CallAttributes.maximumKeptLength
        return 2 * value + 1 + maximumLabels * (2 + CallAttributes.nameLengths.upperBound + value)
    }()

    /// The id, drawn at random.
    public let id: UInt64
    /// When it was given and when it lapses: as Redis said where it holds anything, else by the daemon's clock.
    public private(set) var instants: LeaseInstants
    /// The user who has it, whoever settles it.
    public let owner: SubjectID
    /// What the call counts for in limits of requests.
    public let cost: Int
    /// What the call said about itself, with the groups it counts for.
    public let attributes: CallAttributes
    /// Whether it is held nowhere, because no limit applied.
    public let holdsNothing: Bool
    /// Whether it is held in the windows of these groups.
    public let isHeldInGroups: Bool
    /// Whether it is held in the windows of all.
    public let isGlobal: Bool

    private static let version: UInt8 = 5

    /// What one byte says.
    private enum Flag {
        static let isHeldInGroups: UInt8 = 1
        static let isGlobal: UInt8 = 2
        static let hasModel: UInt8 = 4
        static let hasProvider: UInt8 = 8
        static let holdsNothing: UInt8 = 16
        static let all: UInt8 = 31
    }

    /// Makes a lease with an id of its own.
    public init(
        of owner: SubjectID, instants: LeaseInstants, cost: Int, attributes: CallAttributes,
        holdsNothing: Bool = false,
        isHeldInGroups: Bool, isGlobal: Bool, using random: inout some RandomNumberGenerator
    ) {
        id = random.next()
        self.instants = instants
        self.owner = owner
        self.holdsNothing = holdsNothing
        self.cost = cost
        self.attributes = attributes
        self.isHeldInGroups = isHeldInGroups
        self.isGlobal = isGlobal
    }

    /// Reads a lease's text; nil for anything that is none.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= Self.maximumTextLength, var reader = LeaseReader(text.utf8) else { return nil }
        guard reader.byte() == Self.version, let id = reader.word(), let givenAt = reader.number(bytes: 6),
            let lapsesAt = reader.number(bytes: 6), let owner = reader.subject(),
            let cost = reader.number(bytes: 4), Limit.costs.contains(cost), let flags = reader.byte(),
            flags & ~Flag.all == 0, let attributes = Self.attributes(&reader, flags), reader.isAtEnd
        else { return nil }
        self.id = id
        instants = LeaseInstants(givenAtMilliseconds: givenAt, lapsesAtMilliseconds: lapsesAt)
        self.owner = owner
        holdsNothing = flags & Flag.holdsNothing != 0
        self.cost = cost
        self.attributes = attributes
        isHeldInGroups = flags & Flag.isHeldInGroups != 0
        isGlobal = flags & Flag.isGlobal != 0
    }

    private static func attributes(_ reader: inout LeaseReader, _ flags: UInt8) -> CallAttributes? {
        guard let groupCount = reader.byte() else { return nil }
        var groups: [SubjectID] = []
        for _ in 0..<groupCount {
            guard let group = reader.subject() else { return nil }
            groups.append(group)
        }
        var model: String?
        var provider: String?
        if flags & Flag.hasModel != 0 {
            guard let text = reader.text() else { return nil }
            model = text
        }
        if flags & Flag.hasProvider != 0 {
            guard let text = reader.text() else { return nil }
            provider = text
        }
        guard let labelCount = reader.byte() else { return nil }
        var labels: [String: String] = [:]
        var last: String?
        for _ in 0..<labelCount {
            guard let name = reader.text(), let value = reader.text(), last.map({ $0 < name }) ?? true else {
                return nil
            }
            last = name
            labels[name] = value
        }
        guard labelCount <= maximumLabels else { return nil }
        let attributes = CallAttributes(model: model, provider: provider, labels: labels, groups: groups)
        // Whatever the attributes would cut or leave out was not written here.
        guard attributes.groups == groups, attributes.labels == labels, attributes.model == model,
            attributes.provider == provider
        else { return nil }
        return attributes
    }

    /// The text that gateways keep.
    public var text: String {
        var bytes = [Self.version]
        func append(_ value: UInt64, _ count: Int) {
            for shift in (0..<count).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * shift))) }
        }
        func append(_ subject: SubjectID) {
            // The length 0 stands for a UUID, which needs less as a number.
            guard !subject.isUUID else {
                append(0, 2)
                append(subject.high, 8)
                return append(subject.low, 8)
            }
            subject.withText { text in
                append(UInt64(text.count), 2)
                bytes += text
            }
        }
        func append(_ text: String) {
            append(UInt64(text.utf8.count), 2)
            bytes += text.utf8
        }
        append(id, Self.idLength)
        append(UInt64(instants.givenAtMilliseconds), 6)
        append(UInt64(instants.lapsesAtMilliseconds), 6)
        append(owner)
        append(UInt64(cost), 4)
        bytes.append(
            (isHeldInGroups ? Flag.isHeldInGroups : 0) | (isGlobal ? Flag.isGlobal : 0)
                | (attributes.model == nil ? 0 : Flag.hasModel) | (attributes.provider == nil ? 0 : Flag.hasProvider)
                | (holdsNothing ? Flag.holdsNothing : 0))
        bytes.append(UInt8(attributes.groups.count))
        for group in attributes.groups { append(group) }
        if let model = attributes.model { append(model) }
        if let provider = attributes.provider { append(provider) }
        let labels = attributes.labels.sorted { $0.key < $1.key }.prefix(Self.maximumLabels)
        bytes.append(UInt8(labels.count))
        for (name, value) in labels {
            append(name)
            append(value)
        }
        return Base64URL.text(of: bytes)
    }

    /// What Redis knows it by. One that holds nothing Redis does not know: as if it had been given before all that Redis
    /// remembers, and so it is charged once under the limits that have come since.
    var mark: LeaseMark {
        var instants = instants
        if holdsNothing { instants.givenAtMilliseconds = 0 }
        return LeaseMark(id: id, instants: instants)
    }

    /// The same as Redis has given it.
    func given(at instants: LeaseInstants) -> Lease {
        var lease = self
        lease.instants = instants
        return lease
    }

    /// The same as Redis has renewed it.
    func renewed(until instants: LeaseInstants) -> Lease {
        var lease = self
        lease.instants.lapsesAtMilliseconds = instants.lapsesAtMilliseconds
        return lease
    }
}

/// Two digits for each byte, in lower case.
func hexadecimalDigits(of bytes: [UInt8]) -> [UInt8] {
    let digits = Array("0123456789abcdef".utf8)
    return bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}

/// Takes a lease's bytes apart, never past their end.
private struct LeaseReader {
    private var left: ArraySlice<UInt8> = []

    /// Reads base64url; nil where there is anything else.
    init?(_ text: some Collection<UInt8>) {
        guard let bytes = Base64URL.bytes(of: text) else { return nil }
        left = bytes[...]
    }

    mutating func bytes(_ count: Int) -> ArraySlice<UInt8>? {
        guard left.count >= count else { return nil }
        defer { left = left.dropFirst(count) }
        return left.prefix(count)
    }

    mutating func byte() -> UInt8? { bytes(1)?.first }

    mutating func number(bytes count: Int) -> Int? { bytes(count).map { $0.reduce(0) { $0 << 8 | Int($1) } } }

    mutating func word() -> UInt64? { bytes(8).map { $0.reduce(0) { $0 << 8 | UInt64($1) } } }

    mutating func subject() -> SubjectID? {
        guard let length = number(bytes: 2) else { return nil }
        guard length > 0 else {
            guard let high = word(), let low = word() else { return nil }
            return SubjectID(high: high, low: low)
        }
        guard let text = bytes(length), let subject = text.withUnsafeBytes({ SubjectID($0) }), !subject.isUUID else {
            return nil
        }
        return subject
    }

    /// A text behind its length in two bytes.
    mutating func text() -> String? {
        guard let length = number(bytes: 2), let text = bytes(length) else { return nil }
        return String(validating: text, as: UTF8.self)
    }

    var isAtEnd: Bool { left.isEmpty }
}
