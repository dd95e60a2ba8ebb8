/// What a call says about itself, besides its user: what limits are chosen by, and whose windows it meets.
///
/// Nothing that a call says of itself makes it unusable: what is too long is cut where no limit can see it, and what no
/// limit can name is passed over.
public struct CallAttributes: Hashable, Sendable {
    /// The model's name, if the call gives one; at most ``maximumKeptLength`` bytes.
    public private(set) var model: String?
    /// The provider's name, if the call gives one; at most ``maximumKeptLength`` bytes.
    public private(set) var provider: String?
    /// Values by names of 1 to 64 bytes, each at most ``maximumKeptLength`` bytes.
    public let labels: [String: String]
    /// The groups given in the call: the first 128 of them, and no one twice.
    public private(set) var groups: [SubjectID]
    /// The quotas given in the call, ascending by their limits' ids: one for each limit, and ``LimitSet/maximumCount`` at most.
    public private(set) var quotas: [CallQuota]

    /// How many bytes a label's name has, for a limit to name it.
    public static let nameLengths = 1...64
    /// How many bytes of a label's value, a model or a provider a limit or a price can name.
    public static let maximumValueLength = 256
    /// How many bytes of such a value are kept: longer than all that a limit can name, so that what is cut equals none of
    /// it, and begins with what the whole began with.
    public static let maximumKeptLength = maximumValueLength + 4
    /// How many groups of a call count.
    public static let maximumGroups = 128

    /// A call that says nothing.
    public static let none = CallAttributes()

    /// Makes the attributes of a call. A group that is named twice counts once, since it is one window.
    ///
    /// - Parameter labels: those that some limit names (``LimitSet/labelNames``); others would be kept in vain.
    public init(
        model: String? = nil, provider: String? = nil, labels: [String: String] = [:], groups: [SubjectID] = [],
        quotas: [CallQuota] = []
    ) {
        // Clients whose language has no nil write an empty text for what they leave out.
        self.model = model.flatMap { $0.isEmpty ? nil : Self.cut($0) }
        self.provider = provider.flatMap { $0.isEmpty ? nil : Self.cut($0) }
        self.labels =
            labels.isEmpty
            ? labels : labels.filter { Self.nameLengths.contains($0.key.utf8.count) }.mapValues(Self.cut)
        self.groups = groups.count < 2 ? groups : Self.distinct(groups)
        self.quotas = quotas.count < 2 ? quotas : Self.ordered(quotas)
    }

    /// Of several for one limit the last counts.
    private static func ordered(_ quotas: [CallQuota]) -> [CallQuota] {
        let each = Dictionary(quotas.map { ($0.limitID, $0) }, uniquingKeysWith: { $1 })
        return Array(each.values.sorted { $0.limitID < $1.limitID }.prefix(LimitSet.maximumCount))
    }

    /// The same call, with other groups: the first ``maximumGroups``, each once.
    public func counted(for groups: [SubjectID]) -> CallAttributes {
        var call = self
        call.groups = Self.distinct(groups)
        return call
    }

    /// The same call, where another one says by which model and provider it was served, and under which quotas; what that
    /// leaves out stays.
    public func served(as other: CallAttributes) -> CallAttributes {
        var call = self
        if let model = other.model { call.model = model }
        if let provider = other.provider { call.provider = provider }
        if !other.quotas.isEmpty { call.quotas = other.quotas }
        return call
    }

    /// The value of a label, or nil where the call has none of that name.
    public func value(ofLabel name: String) -> String? { labels[name] }

    /// A value that no limit tells from the whole one: its end is the first of a character beyond all that a limit can name.
    private static func cut(_ text: String) -> String {
        let bytes = text.utf8
        guard bytes.count > maximumValueLength else { return text }
        var end = bytes.index(bytes.startIndex, offsetBy: maximumValueLength + 1)
        while end < bytes.endIndex, bytes[end] & 0xc0 == 0x80 { end = bytes.index(after: end) }
        return String(text[..<end])
    }

    private static func distinct(_ groups: [SubjectID]) -> [SubjectID] {
        var seen: Set<SubjectID> = []
        return Array(groups.filter { seen.insert($0).inserted }.prefix(maximumGroups))
    }
}
