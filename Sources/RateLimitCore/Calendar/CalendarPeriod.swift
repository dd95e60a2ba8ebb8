/// The periods in which a calendar window counts.
public enum CalendarPeriodKind: String, CaseIterable, Hashable, Sendable {
    /// From one full hour of local time to the next.
    case hour
    /// From midnight to midnight.
    case day
    /// From Monday to Sunday (ISO 8601).
    case week
    /// From the first to the last of a month, or from another day of it to the day before in the next.
    case month
    /// Three months.
    case quarter
    /// Twelve months.
    case year

    /// How many months it has; nil of those that are no number of months.
    private var months: Int? {
        switch self {
        case .hour, .day, .week: nil
        case .month: 1
        case .quarter: 3
        case .year: 12
        }
    }

    /// Whether it may begin on another day than the first of a month.
    public var hasStart: Bool { months != nil }

    /// Whether a year has several of them, so that the month of a ``CalendarStart`` says nothing.
    public var isEveryMonth: Bool { self == .month }

    /// The longest that one takes in any zone, in milliseconds: with clocks that are moved in it.
    public var longestMilliseconds: Int {
        switch self {
        case .hour: 2 * 3_600_000
        case .day: 2 * 86_400_000
        case .week: 8 * 86_400_000
        case .month: 32 * 86_400_000
        case .quarter: 93 * 86_400_000
        case .year: 367 * 86_400_000
        }
    }

    /// The period that contains an instant; instants outside ``TimeZoneRules/instants`` count as its nearest end.
    ///
    /// - Parameter start: on which day months, quarters and years begin; of the others it says nothing.
    public func period(
        atUnixSeconds instant: Int, in zone: TimeZoneRules, starting start: CalendarStart = .first
    ) -> CalendarPeriod {
        let instant = TimeZoneRules.clamped(instant)
        if self == .hour { return zone.hour(atUnixSeconds: instant) }
        let firstDay = firstDay(of: zone.day(atUnixSeconds: instant), start)
        let begin = zone.start(ofDay: firstDay)
        var next = self.next(after: firstDay, start)
        // A day that a zone skips begins where the one behind it begins.
        while zone.start(ofDay: next) <= begin { next = self.next(after: next, start) }
        return CalendarPeriod(start: begin, nextStart: zone.start(ofDay: next))
    }

    /// The starts of four periods on end, of which the second contains an instant: for who decides a little later, by
    /// another clock.
    public func boundaries(
        aroundUnixSeconds instant: Int, in zone: TimeZoneRules, starting start: CalendarStart = .first
    ) -> CalendarBoundaries {
        func period(_ instant: Int) -> CalendarPeriod { self.period(atUnixSeconds: instant, in: zone, starting: start) }
        let this = period(instant)
        return CalendarBoundaries(
            previousStart: period(this.start - 1).start, start: this.start, nextStart: this.nextStart,
            afterNextStart: period(this.nextStart).nextStart)
    }

    private func firstDay(of day: Int, _ start: CalendarStart) -> Int {
        guard let months else { return self == .week ? day - (CivilDay.weekday(ofDay: day) + 6) % 7 : day }
        let (year, month) = CivilDay.yearAndMonth(ofDay: day)
        var first = year * 12 + month - 1
        // Back to the last month in which one begins, and one period more where that has not begun on this day.
        first -= CivilDay.remainder(first - (start.month - 1), months)
        let firstDay = start.day(inMonth: first)
        return firstDay <= day ? firstDay : start.day(inMonth: first - months)
    }

    private func next(after firstDay: Int, _ start: CalendarStart) -> Int {
        guard let months else { return firstDay + (self == .week ? 7 : 1) }
        let (year, month) = CivilDay.yearAndMonth(ofDay: firstDay)
        return start.day(inMonth: year * 12 + month - 1 + months)
    }
}

/// One hour, day, week, month, quarter or year in a time zone.
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
