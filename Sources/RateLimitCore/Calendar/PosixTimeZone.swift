/// A rule for all years, as POSIX writes it in `TZ` and TZif in its footer: `CET-1CEST,M3.5.0,M10.5.0/3`.
struct PosixTimeZone: Hashable, Sendable {
    /// When a change comes in each year, in local time as it is before the change.
    struct YearlyChange: Hashable, Sendable {
        enum Day: Hashable, Sendable {
            /// `Jn`: day 1 to 365, and February 29 is never counted.
            case withoutLeapDay(Int)
            /// `n`: day 0 to 365.
            case ofYear(Int)
            /// `Mm.w.d`: the weekday (0 is Sunday) in the month's week 1 to 5, of which 5 is the last.
            case weekday(month: Int, week: Int, weekday: Int)
        }

        var day: Day
        /// Seconds from midnight, negative or beyond a day too.
        var time: Int

        func localSeconds(inYear year: Int) -> Int {
            dayNumber(inYear: year) * CivilDay.seconds + time
        }

        private func dayNumber(inYear year: Int) -> Int {
            let first = CivilDay.day(year: year, month: 1, day: 1)
            switch day {
            case .withoutLeapDay(let number):
                return first + number - 1 + (CivilDay.isLeap(year) && number > 59 ? 1 : 0)
            case .ofYear(let number):
                return first + number
            case .weekday(let month, let week, let weekday):
                let start = CivilDay.day(year: year, month: month, day: 1)
                let end = CivilDay.day(year: month == 12 ? year + 1 : year, month: month % 12 + 1, day: 1)
                var day = start + (weekday - CivilDay.weekday(ofDay: start) + 7) % 7 + (week - 1) * 7
                while day >= end { day -= 7 }
                return day
            }
        }
    }

    struct Daylight: Hashable, Sendable {
        var offset: Int
        var start: YearlyChange
        var end: YearlyChange
    }

    var standardOffset: Int
    var daylight: Daylight?

    /// The offset at an instant, and until when it stays.
    func span(at instant: Int) -> TimeZoneRules.Span {
        guard let daylight else { return TimeZoneRules.Span(offset: standardOffset, end: .max) }
        let year = CivilDay.yearAndMonth(
            ofDay: CivilDay.floorDivide(instant + standardOffset, CivilDay.seconds)
        ).year
        var latest = Int.min
        var offset = standardOffset
        var end = Int.max
        // A change may be moved by a week, so that one of a year falls into the next or the one before.
        for year in year - 2...year + 2 {
            let toStandard = daylight.end.localSeconds(inYear: year) - daylight.offset
            let toDaylight = daylight.start.localSeconds(inYear: year) - standardOffset
            // Where both come at once, as in daylight time all year, that to daylight time counts.
            for (change, after) in [(toStandard, standardOffset), (toDaylight, daylight.offset)] {
                if change > instant {
                    end = min(end, change)
                } else if change > latest || (change == latest && after == daylight.offset) {
                    latest = change
                    offset = after
                }
            }
        }
        return TimeZoneRules.Span(offset: offset, end: end)
    }
}

extension PosixTimeZone {
    /// Reads the whole text; nil for anything that is not such a rule.
    init?(_ text: ArraySlice<UInt8>) {
        var reader = PosixTimeZoneReader(rest: text)
        guard let zone = reader.zone(), reader.rest.isEmpty else { return nil }
        self = zone
    }
}

/// What is left of a text while it is read from its start.
private struct PosixTimeZoneReader {
    var rest: ArraySlice<UInt8>

    mutating func zone() -> PosixTimeZone? {
        guard name(), let west = time(hours: 0...24) else { return nil }
        guard !rest.isEmpty else { return PosixTimeZone(standardOffset: -west, daylight: nil) }
        guard name() else { return nil }
        var offset = 3600 - west
        if rest.first != UInt8(ascii: ",") {
            guard let west = time(hours: 0...24) else { return nil }
            offset = -west
        }
        guard take(","), let start = change(), take(","), let end = change(),
            TimeZoneRules.offsets.contains(offset)
        else { return nil }
        return PosixTimeZone(standardOffset: -west, daylight: .init(offset: offset, start: start, end: end))
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: character) else { return false }
        rest.removeFirst()
        return true
    }

    /// `CET`, or in angle brackets with digits and signs: `<+03>`.
    private mutating func name() -> Bool {
        let isQuoted = take("<")
        let length = rest.prefix { byte in
            let isLetter = byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z")
            let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
            return isLetter || isQuoted && (isDigit || "+-".utf8.contains(byte))
        }.count
        guard length >= 3 else { return false }
        rest.removeFirst(length)
        return !isQuoted || take(">")
    }

    private mutating func number(_ range: ClosedRange<Int>) -> Int? {
        var value = 0
        var count = 0
        while let byte = rest.first, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
            value = value * 10 + Int(byte - UInt8(ascii: "0"))
            count += 1
            guard count <= 3 else { return nil }
            rest.removeFirst()
        }
        return count > 0 && range.contains(value) ? value : nil
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    private mutating func time(hours: ClosedRange<Int>) -> Int? {
        let isNegative = take("-")
        if !isNegative { _ = take("+") }
        guard let hour = number(hours) else { return nil }
        var seconds = hour * 3600
        if take(":") {
            guard let minute = number(0...59) else { return nil }
            seconds += minute * 60
            if take(":") {
                guard let second = number(0...59) else { return nil }
                seconds += second
            }
        }
        return isNegative ? -seconds : seconds
    }

    private mutating func change() -> PosixTimeZone.YearlyChange? {
        guard let day = changeDay() else { return nil }
        guard take("/") else { return .init(day: day, time: 2 * 3600) }
        return time(hours: 0...167).map { .init(day: day, time: $0) }
    }

    private mutating func changeDay() -> PosixTimeZone.YearlyChange.Day? {
        if take("J") { return number(1...365).map { .withoutLeapDay($0) } }
        guard take("M") else { return number(0...365).map { .ofYear($0) } }
        guard let month = number(1...12), take("."), let week = number(1...5), take("."),
            let weekday = number(0...6)
        else { return nil }
        return .weekday(month: month, week: week, weekday: weekday)
    }
}
