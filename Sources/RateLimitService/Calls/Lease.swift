public import RateLimitCore

/// What a gateway holds while a call is under way: an id, and what is needed to settle it in any replica, whatever the
/// limits are by then.
///
/// Its text is opaque to gateways: in base64url (RFC 4648, section 5; no padding) a version byte, the id, when it was
/// given, when it lapses and how far servers differ about the first, the owner, the cost, in whose windows it is held,
/// the groups, what the call said about itself, by which values of that it is held, and under which quotas of its own. Nothing of it is secret or
/// trusted: whoever may ask at the socket may do with a user's budget what a forged lease could.
public struct Lease: Hashable, Sendable {
    /// How many bytes an id has.
    public static let idLength = 8
    /// How many labels it carries, those by whose values it is held and then the first by name: a call has those that
    /// limits name.
    public static let maximumLabels = 16
    /// The longest text: the most groups and values, and the longest owner, groups, model, provider and labels. With it a
    /// body is well below what one may have.
    public static let maximumTextLength: Int = {
        let subject = 2 + SubjectID.textLengths.upperBound
        let values = 1 + LimitSet.maximumCount * (1 + CallValue.maximumCount)
        let quotas = 1 + LimitSet.maximumCount * 10
        return (4 * (29 + subject * (1 + CallAttributes.maximumGroups) + maximumTextBytes + values + quotas) + 2) / 3
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
    /// By which values it is held besides: in the windows that are of what ``attributes`` say of them. At most
    /// ``LimitSet/maximumCount``, none twice.
    public let heldValues: [ValueWindows]

    private static let version: UInt8 = 6

    /// What one byte says.
    private enum Flag {
        static let isHeldInGroups: UInt8 = 1
        static let isGlobal: UInt8 = 2
        static let hasModel: UInt8 = 4
        static let hasProvider: UInt8 = 8
        static let holdsNothing: UInt8 = 16
        static let hasValues: UInt8 = 32
        static let hasQuotas: UInt8 = 64
        static let all: UInt8 = 127
    }

    /// Makes a lease with an id of its own.
    public init(
        of owner: SubjectID, instants: LeaseInstants, cost: Int, attributes: CallAttributes,
        holdsNothing: Bool = false, isHeldInGroups: Bool, isGlobal: Bool, heldValues: [ValueWindows] = [],
        using random: inout some RandomNumberGenerator
    ) {
        precondition(heldValues.count <= LimitSet.maximumCount)
        id = random.next()
        self.instants = instants
        self.owner = owner
        self.holdsNothing = holdsNothing
        self.cost = cost
        self.attributes = attributes
        self.isHeldInGroups = isHeldInGroups
        self.isGlobal = isGlobal
        self.heldValues = heldValues
    }

    /// Reads a lease's text; nil for anything that is none.
    public init?(_ text: some StringProtocol) {
        var text = String(text)
        guard let lease = text.withUTF8({ Self(UnsafeRawBufferPointer($0)) }) else { return nil }
        self = lease
    }

    /// Reads the bytes of a lease's text; nil for anything that is none.
    public init?(_ text: UnsafeRawBufferPointer) {
        guard text.count <= Self.maximumTextLength else { return nil }
        let lease = withUnsafeTemporaryAllocation(byteCount: 3 * text.count / 4, alignment: 1) { buffer in
            Base64URL.read(text, to: buffer).flatMap { count in
                Self(LeaseReader(UnsafeRawBufferPointer(rebasing: buffer[..<count])))
            }
        }
        guard let lease else { return nil }
        self = lease
    }

    private init?(_ bytes: LeaseReader) {
        var reader = bytes
        guard reader.byte() == Self.version, let id = reader.word(), let givenAt = reader.number(bytes: 6),
            let lapsesAt = reader.number(bytes: 6), let spread = reader.number(bytes: 2),
            let owner = reader.subject(),
            let cost = reader.number(bytes: 4), Limit.costs.contains(cost), let flags = reader.byte(),
            flags & ~Flag.all == 0, let (attributes, heldValues) = Self.attributes(&reader, flags), reader.isAtEnd
        else { return nil }
        self.id = id
        instants = LeaseInstants(
            givenAtMilliseconds: givenAt, lapsesAtMilliseconds: lapsesAt, spreadMilliseconds: spread)
        self.owner = owner
        holdsNothing = flags & Flag.holdsNothing != 0
        self.cost = cost
        self.attributes = attributes
        isHeldInGroups = flags & Flag.isHeldInGroups != 0
        isGlobal = flags & Flag.isGlobal != 0
        self.heldValues = heldValues
    }

    private static func attributes(
        _ reader: inout LeaseReader, _ flags: UInt8
    ) -> (CallAttributes, heldValues: [ValueWindows])? {
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
        var names: [String] = []
        for _ in 0..<labelCount {
            guard let name = reader.text(), let value = reader.text(), names.last.map({ $0 < name }) ?? true else {
                return nil
            }
            names.append(name)
            labels[name] = value
        }
        guard labelCount <= maximumLabels else { return nil }
        guard let heldValues = flags & Flag.hasValues == 0 ? [] : reader.heldValues(naming: names) else { return nil }
        guard let quotas = flags & Flag.hasQuotas == 0 ? [] : reader.quotas() else { return nil }
        let attributes = CallAttributes(
            model: model, provider: provider, labels: labels, groups: groups, quotas: quotas)
        // Whatever the attributes would cut or leave out was not written here.
        guard attributes.groups == groups, attributes.labels == labels, attributes.model == model,
            attributes.provider == provider, attributes.quotas == quotas
        else { return nil }
        // It is held by nothing that the call did not say.
        let said = heldValues.allSatisfy { windows in
            windows.values.allSatisfy { !$0.isSaid || attributes.value(of: $0) != nil }
        }
        return said ? (attributes, heldValues) : nil
    }

    /// The text that gateways keep.
    public var text: String { withText { String(decoding: $0, as: UTF8.self) } }

    /// Gives `read` the bytes of the text that gateways keep.
    public func withText<Value>(_ read: (UnsafeRawBufferPointer) -> Value) -> Value {
        let labels = attributes.labels.isEmpty ? [] : carriedLabels
        let held = heldValues.isEmpty ? [] : Self.bytes(of: heldValues, naming: labels.map(\.key))
        let quotas = attributes.quotas
        let count = byteCount(labels) + held.count + (quotas.isEmpty ? 0 : 1 + 10 * quotas.count)
        let textLength = Base64URL.textLength(ofBytes: count)
        return withUnsafeTemporaryAllocation(byteCount: count + textLength, alignment: 1) { buffer in
            var writer = LeaseWriter(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
            write(labels, hasValues: !held.isEmpty, to: &writer)
            for byte in held { writer.write(UInt64(byte), 1) }
            if !quotas.isEmpty { writer.write(UInt64(quotas.count), 1) }
            for quota in quotas {
                writer.write(UInt64(quota.limitID), 4)
                writer.write(UInt64(quota.amount), 6)
            }
            precondition(writer.isFull)
            let text = UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
            Base64URL.write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: text)
            return read(UnsafeRawBufferPointer(text))
        }
    }

    /// The labels that the text has: those by whose values it is held come first, since without them nothing is freed there.
    private var carriedLabels: ArraySlice<(key: String, value: String)> {
        let labels = attributes.labels.sorted { $0.key < $1.key }
        guard labels.count > Self.maximumLabels else { return labels[...] }
        let needed = Set(heldValues.flatMap(\.values))
        let isNeeded = labels.map { needed.contains(.label($0.key)) }
        let places = labels.indices.filter { isNeeded[$0] } + labels.indices.filter { !isNeeded[$0] }
        return places.prefix(Self.maximumLabels).sorted().map { labels[$0] }[...]
    }

    /// How many there are, and for each a byte of flags, the scope in the lowest two bits and the number of labels in the
    /// highest three, and the labels' places. Nothing where there are none.
    private static func bytes(of held: [ValueWindows], naming labels: [String]) -> [UInt8] {
        var bytes: [UInt8] = []
        var count: UInt8 = 0
        for windows in held {
            var flags = ValueFlag.scopes.firstIndex(of: windows.scope).map(UInt8.init) ?? 0
            var places: [UInt8] = []
            for value in windows.values {
                switch value {
                case .group: flags |= ValueFlag.group
                case .model: flags |= ValueFlag.model
                case .provider: flags |= ValueFlag.provider
                case .label(let name): if let place = labels.firstIndex(of: name) { places.append(UInt8(place)) }
                }
            }
            // What needs a label that is left out lapses by itself.
            guard windows.values.count == places.count + (flags >> 2).nonzeroBitCount else { continue }
            bytes += [flags | UInt8(places.count) << 5] + places
            count += 1
        }
        return count == 0 ? [] : [count] + bytes
    }

    enum ValueFlag {
        static let scopes: [LimitScope] = [.user, .group, .global]
        static let group: UInt8 = 4
        static let model: UInt8 = 8
        static let provider: UInt8 = 16
    }

    private func write(
        _ labels: ArraySlice<(key: String, value: String)>, hasValues: Bool, to writer: inout LeaseWriter
    ) {
        writer.write(UInt64(Self.version), 1)
        writer.write(id, Self.idLength)
        writer.write(UInt64(instants.givenAtMilliseconds), 6)
        writer.write(UInt64(instants.lapsesAtMilliseconds), 6)
        writer.write(UInt64(instants.spreadMilliseconds), 2)
        writer.write(owner)
        writer.write(UInt64(cost), 4)
        let flags =
            (isHeldInGroups ? Flag.isHeldInGroups : 0) | (isGlobal ? Flag.isGlobal : 0)
            | (attributes.model == nil ? 0 : Flag.hasModel) | (attributes.provider == nil ? 0 : Flag.hasProvider)
            | (holdsNothing ? Flag.holdsNothing : 0) | (hasValues ? Flag.hasValues : 0)
            | (attributes.quotas.isEmpty ? 0 : Flag.hasQuotas)
        writer.write(UInt64(flags), 1)
        writer.write(UInt64(attributes.groups.count), 1)
        for group in attributes.groups { writer.write(group) }
        if let model = attributes.model { writer.write(model) }
        if let provider = attributes.provider { writer.write(provider) }
        writer.write(UInt64(labels.count), 1)
        for (name, value) in labels {
            writer.write(name)
            writer.write(value)
        }
    }

    private func byteCount(_ labels: ArraySlice<(key: String, value: String)>) -> Int {
        let texts = labels.reduce(0) { $0 + 4 + $1.key.utf8.count + $1.value.utf8.count }
        let groups = attributes.groups.reduce(0) { $0 + LeaseWriter.count(of: $1) }
        return 1 + Self.idLength + 14 + LeaseWriter.count(of: owner) + 4 + 1 + 1 + groups
            + (attributes.model.map { 2 + $0.utf8.count } ?? 0)
            + (attributes.provider.map { 2 + $0.utf8.count } ?? 0) + 1 + texts
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
        lease.instants = self.instants.renewed(until: instants)
        return lease
    }
}

/// Two digits for each byte, in lower case.
func hexadecimalDigits(of bytes: [UInt8]) -> [UInt8] {
    let digits = Array("0123456789abcdef".utf8)
    return bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}
