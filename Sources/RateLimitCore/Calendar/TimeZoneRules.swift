/// How far a place's clocks are from UTC at each instant: a time zone's file as a value.
///
/// The file is TZif of version 1 to 4 (RFC 9636); from its last change on, the rule in its footer holds. Files that
/// count leap seconds (the `right/` ones) are refused: their instants are not Unix seconds.
public struct TimeZoneRules: Hashable, Sendable {
    /// What the zone is called, such as `Europe/Berlin`.
    public let name: String
    /// The offset before the first change.
    let firstOffset: Int
    /// Instants at which the offset changes, ascending, with the offset from there on.
    let changes: [Change]
    /// What holds from the last change on, where the file says it.
    let footer: PosixTimeZone?

    struct Change: Hashable, Sendable {
        var instant: Int
        var offset: Int
    }

    /// Universal time: needs no file.
    public static let utc = TimeZoneRules(name: "UTC", firstOffset: 0, changes: [], footer: nil)

    /// The instants that are told apart, in Unix seconds: the years 1 to 9999.
    public static let instants = -62_135_596_800...253_402_300_799

    /// The offsets a file may have, in seconds: from 25 hours behind to 26 hours ahead (RFC 9636, section 3.2).
    static let offsets = -89_999...93_599

    init(name: String, firstOffset: Int, changes: [Change], footer: PosixTimeZone?) {
        self.name = name
        self.firstOffset = firstOffset
        self.changes = changes
        self.footer = footer
    }

    /// How many seconds local time is ahead of UTC; instants outside ``instants`` count as its nearest end.
    public func utcOffset(atUnixSeconds instant: Int) -> Int {
        span(at: Self.clamped(instant)).offset
    }

    /// A time in which the offset stays the same, from the instant asked for on.
    struct Span: Hashable {
        var offset: Int
        /// The first instant behind it; `Int.max` where it never ends.
        var end: Int
    }

    func span(at instant: Int) -> Span {
        let upcoming = firstChange(after: instant)
        if upcoming == changes.count, let footer { return footer.span(at: instant) }
        let offset = upcoming == 0 ? firstOffset : changes[upcoming - 1].offset
        return Span(offset: offset, end: upcoming == changes.count ? .max : changes[upcoming].instant)
    }

    private func firstChange(after instant: Int) -> Int {
        var low = 0
        var high = changes.count
        while low < high {
            let middle = (low + high) / 2
            if changes[middle].instant <= instant { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The first instant at which clocks in the zone show the day or a later one: also where midnight is skipped,
    /// comes twice, or the whole day is left out.
    func start(ofDay day: Int) -> Int {
        let midnight = day * CivilDay.seconds
        // Before this no offset makes it that late.
        var instant = midnight - Self.offsets.upperBound - 1
        // Each turn is one change of the file, and behind the last the answer is certain.
        while true {
            let span = span(at: instant)
            let candidate = max(instant, midnight - span.offset)
            if candidate < span.end { return candidate }
            instant = span.end
        }
    }

    /// The last day that has begun at an instant; later than what clocks show while they repeat the end of the day
    /// before.
    func day(atUnixSeconds instant: Int) -> Int {
        var day = CivilDay.floorDivide(instant + span(at: instant).offset, CivilDay.seconds)
        while start(ofDay: day + 1) <= instant { day += 1 }
        return day
    }

    static func clamped(_ instant: Int) -> Int {
        min(max(instant, instants.lowerBound), instants.upperBound)
    }
}
