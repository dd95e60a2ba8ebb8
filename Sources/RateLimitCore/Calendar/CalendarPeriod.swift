/// The periods in which a calendar window counts.
public enum CalendarPeriodKind: String, CaseIterable, Hashable, Sendable {
    /// From midnight to midnight.
    case day
    /// From Monday to Sunday (ISO 8601).
    case week
    /// From the first to the last of a month.
    case month

    /// The period that contains an instant; instants outside ``TimeZoneRules/instants`` count as its nearest end.
    public func period(atUnixSeconds instant: Int, in zone: TimeZoneRules) -> CalendarPeriod {
        let instant = TimeZoneRules.clamped(instant)
        let firstDay = firstDay(of: zone.day(atUnixSeconds: instant))
        let start = zone.start(ofDay: firstDay)
        var next = self.next(after: firstDay)
        // A day that a zone skips begins where the one behind it begins.
        while zone.start(ofDay: next) <= start { next = self.next(after: next) }
        return CalendarPeriod(start: start, nextStart: zone.start(ofDay: next))
    }

    /// The starts of four periods on end, of which the second contains an instant: for who decides a little later, by
    /// another clock.
    public func boundaries(aroundUnixSeconds instant: Int, in zone: TimeZoneRules) -> CalendarBoundaries {
        let this = period(atUnixSeconds: instant, in: zone)
        return CalendarBoundaries(
            previousStart: period(atUnixSeconds: this.start - 1, in: zone).start, start: this.start,
            nextStart: this.nextStart, afterNextStart: period(atUnixSeconds: this.nextStart, in: zone).nextStart)
    }

    private func firstDay(of day: Int) -> Int {
        switch self {
        case .day: return day
        case .week: return day - (CivilDay.weekday(ofDay: day) + 6) % 7
        case .month:
            let (year, month) = CivilDay.yearAndMonth(ofDay: day)
            return CivilDay.day(year: year, month: month, day: 1)
        }
    }

    private func next(after firstDay: Int) -> Int {
        switch self {
        case .day: return firstDay + 1
        case .week: return firstDay + 7
        case .month:
            let (year, month) = CivilDay.yearAndMonth(ofDay: firstDay)
            return CivilDay.day(year: month == 12 ? year + 1 : year, month: month % 12 + 1, day: 1)
        }
    }
}

/// One day, week or month in a time zone.
public struct CalendarPeriod: Hashable, Sendable {
    /// Its first second, in Unix seconds.
    public let start: Int
    /// The first second of the period behind it.
    public let nextStart: Int

    /// Makes a period.
    public init(start: Int, nextStart: Int) {
        self.start = start
        self.nextStart = nextStart
    }
}

/// The starts of four periods on end, in Unix seconds.
public struct CalendarBoundaries: Hashable, Sendable {
    /// The start of the period before.
    public let previousStart: Int
    /// The start of the period itself.
    public let start: Int
    /// The start of the next.
    public let nextStart: Int
    /// The start of the next but one.
    public let afterNextStart: Int

    /// Makes boundaries, each later than the one before.
    public init(previousStart: Int, start: Int, nextStart: Int, afterNextStart: Int) {
        self.previousStart = previousStart
        self.start = start
        self.nextStart = nextStart
        self.afterNextStart = afterNextStart
    }
}
