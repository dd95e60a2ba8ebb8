public import RateLimitCore

/// A threshold that a call has crossed, as it is told: in the log, in the stream of events and to a webhook.
public struct ThresholdEvent: Hashable, Sendable {
    /// What tells it from all others: 32 hexadecimal digits, drawn once. Told a second time it has the same.
    public let id: String
    /// When it was crossed, in milliseconds since 1970 by Redis's clock.
    public let at: Int
    /// The limit.
    public let limit: LimitName
    /// What the limit counts.
    public let unit: LimitUnit
    /// What the limit does about calls above its quota.
    public let mode: LimitMode
    /// Whose window it is.
    public let owner: WindowOwner
    /// By which values the window is one of many, as `WindowValues.text`; nil where there are none.
    public let values: String?
    /// What was crossed.
    public let threshold: LimitThreshold
    /// As an amount in the unit: from it on the threshold is crossed.
    public let amount: Int
    /// The quota in force; nil where it is unlimited.
    public let quota: Int?
    /// How much the window counted with the call that crossed.
    public let used: Int
    /// Which period of the calendar the window is, in Unix seconds; nil for other windows.
    public let period: CalendarPeriod?
    /// The length of a window that slides, in milliseconds; nil for other windows.
    public let windowMilliseconds: Int?

    /// Makes an event of a crossing, with an id of its own where none is given.
    public init(_ crossing: ThresholdCrossing, id: String = ThresholdEvent.newID()) {
        self.init(crossing, values: crossing.values?.text, id: id)
    }

    private init(_ crossing: ThresholdCrossing, values: String?, id: String) {
        self.id = id
        self.values = values
        at = crossing.unixMilliseconds
        limit = crossing.limit
        unit = crossing.unit
        mode = crossing.mode
        owner = crossing.owner
        threshold = crossing.threshold
        amount = crossing.amount
        quota = crossing.quota
        used = crossing.used
        period = crossing.period
        windowMilliseconds = crossing.windowMilliseconds
    }

    /// An id that no other event has.
    public static func newID() -> String {
        let halves = [UInt64.random(in: 0 ... .max), UInt64.random(in: 0 ... .max)]
        return halves.map { half in
            let digits = String(half, radix: 16)
            return String(repeating: "0", count: 16 - digits.utf8.count) + digits
        }.joined()
    }
}

extension LimitThreshold {
    /// What events call it.
    public var name: String {
        switch self {
        case .share(perMille: 1000): "quota"
        case .share: "warning"
        case .softQuota: "soft_quota"
        }
    }

    /// Every name there is.
    public static let names = ["warning", "quota", "soft_quota"]

    /// Which share of the quota it is, in thousandths; nil for the soft quota, which is none.
    public var perMille: Int? { if case .share(let perMille) = self { perMille } else { nil } }

    /// Reads a name and the share that goes with it; nil where they are of no threshold.
    fileprivate init?(_ name: String?, _ perMille: Int?) {
        self = perMille.map { .share(perMille: $0) } ?? .softQuota
        guard self.name == name, perMille.map(LimitDefinition.warnings.contains) ?? true else { return nil }
    }
}

// MARK: - As the stream keeps it

extension ThresholdEvent {
    /// The entry's fields, each behind its name. What there is not is left out.
    var fields: [String] {
        var fields = ["id", id, "at", "\(at)", "limit", limit.text, "unit", unit.text, "mode", mode.rawValue]
        fields += ["per", owner.scope.rawValue]
        switch owner {
        case .user(let user): fields += ["user", user.encoded]
        case .group(let group): fields += ["group", group.encoded]
        case .global: break
        }
        if let values { fields += ["values", values] }
        fields += ["threshold", threshold.name]
        let numbers = [
            ("share", threshold.perMille), ("amount", amount), ("quota", quota), ("used", used),
            ("window", windowMilliseconds), ("start", period?.start), ("end", period?.nextStart),
        ]
        for (name, number) in numbers { if let number { fields += [name, "\(number)"] } }
        return fields
    }

    /// Reads ``fields``, in any order and among others; nil where one is missing or is nothing that is written here.
    init?(fields: [String]) {
        guard fields.count.isMultiple(of: 2) else { return nil }
        var texts: [String: String] = [:]
        for index in stride(from: 0, to: fields.count, by: 2) { texts[fields[index]] = fields[index + 1] }
        func number(_ name: String) -> Int? { texts[name].flatMap { WholeNumber.read($0.utf8) } }
        guard let id = texts["id"], Self.isID(id), let at = number("at"),
            let limit = texts["limit"].flatMap({ LimitName($0) }),
            let unit = texts["unit"].flatMap({ LimitUnit($0) }),
            let mode = texts["mode"].flatMap({ LimitMode(rawValue: $0) }),
            let owner = Self.owner(texts), let threshold = LimitThreshold(texts["threshold"], number("share")),
            let amount = number("amount"), let used = number("used"), Self.areValues(texts["values"])
        else { return nil }
        var period: CalendarPeriod?
        if let start = number("start"), let end = number("end") {
            period = CalendarPeriod(start: start, nextStart: end)
        }
        let crossing = ThresholdCrossing(
            limit: limit, unit: unit, mode: mode, owner: owner, values: nil, threshold: threshold, amount: amount,
            quota: number("quota"), used: used, period: period, windowMilliseconds: number("window"),
            unixMilliseconds: at)
        self.init(crossing, values: texts["values"], id: id)
    }

    private static func isID(_ text: String) -> Bool {
        text.utf8.count == 32
            && text.utf8.allSatisfy {
                UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
            }
    }

    /// Whether a text is as long as values are, and without what would end a line where it is shown.
    private static func areValues(_ text: String?) -> Bool {
        guard let text else { return true }
        return text.utf8.count <= WindowValues.longest && text.utf8.allSatisfy { 0x21...0x7e ~= $0 }
    }

    private static func owner(_ texts: [String: String]) -> WindowOwner? {
        switch texts["per"].flatMap({ LimitScope(rawValue: $0) }) {
        case .user: texts["user"].flatMap { SubjectID(encoded: $0) }.map { .user($0) }
        case .group: texts["group"].flatMap { SubjectID(encoded: $0) }.map { .group($0) }
        case .global: .global
        case nil: nil
        }
    }
}
