/// Days of the Gregorian calendar as numbers: day 0 is 1970-01-01.
enum CivilDay {
    static let seconds = 86_400

    /// The day of a date. After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    static func day(year: Int, month: Int, day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = floorDivide(shifted, 400)
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// The year and month a day is in, `civil_from_days` of the same source.
    static func yearAndMonth(ofDay day: Int) -> (year: Int, month: Int) {
        let shifted = day + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month)
    }

    /// 0 for Sunday to 6 for Saturday.
    static func weekday(ofDay day: Int) -> Int {
        // 1970-01-01 was a Thursday.
        day + 4 - floorDivide(day + 4, 7) * 7
    }

    static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    /// How many days a month has.
    static func length(ofMonth month: Int, in year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// What is left over a multiple of the divisor: never negative.
    static func remainder(_ dividend: Int, _ divisor: Int) -> Int {
        dividend - floorDivide(dividend, divisor) * divisor
    }

    static func floorDivide(_ dividend: Int, _ divisor: Int) -> Int {
        let quotient = dividend / divisor
        return dividend % divisor < 0 ? quotient - 1 : quotient
    }
}
