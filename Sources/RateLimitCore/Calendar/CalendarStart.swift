/// The day on which months, quarters or years begin: each on that day of its first month, or on the month's last day
/// where it has no such day, as invoices do.
public struct CalendarStart: Hashable, Sendable {
    /// The month in which a year, and one of its quarters, begins, from 1 to 12; of months it says nothing.
    public let month: Int
    /// The day of the month, from 1 to 31.
    public let day: Int

    /// The first of January: what holds where nothing is said.
    public static let first = CalendarStart(month: 1, day: 1)

    /// The days that a month may begin on.
    public static let days = 1...31

    /// Makes a start; a day that the month never has is a programming error.
    public init(month: Int = 1, day: Int) {
        precondition(Self.isDay(day, ofMonth: month))
        self.month = month
        self.day = day
    }

    /// Whether a month has a day in some year.
    static func isDay(_ day: Int, ofMonth month: Int) -> Bool {
        // A leap year has them all.
        1...12 ~= month && 1...CivilDay.length(ofMonth: month, in: 2000) ~= day
    }

    /// Reads a day of a month as the limits file writes it: `15`, or where a `hasMonth` also `04-06`, the sixth of April; nil
    /// for anything else, and for a day that the month never has.
    public init?(_ text: String, hasMonth: Bool) {
        let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        let numbers = parts.compactMap { Self.number($0) }
        guard numbers.count == parts.count, let day = numbers.last else { return nil }
        if numbers.count == 1 {
            self.init(checked: 1, day)
        } else {
            guard hasMonth, parts.map(\.count) == [2, 2] else { return nil }
            self.init(checked: numbers[0], day)
        }
    }

    private init?(checked month: Int, _ day: Int) {
        guard Self.isDay(day, ofMonth: month) else { return nil }
        self.init(month: month, day: day)
    }

    /// A number of one or two digits.
    private static func number(_ digits: Substring.UTF8View) -> Int? {
        guard 1...2 ~= digits.count, digits.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) else {
            return nil
        }
        return digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }

    /// The start as the limits file writes it.
    public var text: String {
        func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return month == 1 ? "\(day)" : "\(twoDigits(month))-\(twoDigits(day))"
    }

    /// The day on which a period begins whose first month is the one with this number: twelve for each year, and
    /// January's of the year 0 is 0.
    func day(inMonth number: Int) -> Int {
        let year = CivilDay.floorDivide(number, 12)
        let month = CivilDay.remainder(number, 12) + 1
        return CivilDay.day(
            year: year, month: month, day: min(day, CivilDay.length(ofMonth: month, in: year)))
    }
}
