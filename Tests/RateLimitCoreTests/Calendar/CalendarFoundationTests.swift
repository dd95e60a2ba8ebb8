import Foundation
import TestSupport
import Testing

@testable import RateLimitCore

@Suite("Beside Foundation's Calendar")
struct CalendarFoundationTests {
    /// Of each kind of rule some: changes at midnight, half hours, far from UTC, none at all, given up, yearly lists.
    static let zones = [
        "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "America/Asuncion", "America/Caracas",
        "America/Halifax", "America/Havana", "America/Los_Angeles", "America/New_York", "America/Nuuk",
        "America/Santiago", "America/Sao_Paulo", "America/St_Johns", "America/Toronto", "Antarctica/Troll",
        "Asia/Amman", "Asia/Beirut", "Asia/Damascus", "Asia/Gaza", "Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata",
        "Asia/Pyongyang", "Asia/Tehran", "Asia/Tokyo", "Atlantic/Azores", "Australia/Lord_Howe", "Australia/Sydney",
        "Europe/Berlin", "Europe/Dublin", "Europe/Istanbul", "Europe/London", "Europe/Moscow", "Pacific/Apia",
        "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Kwajalein",
    ]

    private static func instants(seed: UInt64, count: Int) throws -> [Int] {
        var random = SeededGenerator(seed: seed)
        let range = try seconds("1970-01-05")..<seconds("2100-01-01")
        return (0..<count).map { _ in Int.random(in: range, using: &random) }
    }

    @Test("the offset is the same at any instant from 1970 to 2100", arguments: zones)
    func offsets(_ name: String) throws {
        let rules = try ZoneFiles.rules(name)
        let zone = try #require(TimeZone(identifier: name))
        for instant in try Self.instants(seed: 1, count: 2000) {
            let expected = zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(instant)))
            #expect(rules.utcOffset(atUnixSeconds: instant) == expected, "at \(instant)")
        }
    }

    @Test("days, weeks and months begin at the same instants from 1970 to 2100", arguments: zones)
    func periods(_ name: String) throws {
        let rules = try ZoneFiles.rules(name)
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = try #require(TimeZone(identifier: name))
        let components: [(CalendarPeriodKind, Calendar.Component)] = [
            (.day, .day), (.week, .weekOfYear), (.month, .month), (.quarter, .quarter), (.year, .year),
        ]
        for instant in try Self.instants(seed: 2, count: 300) {
            for (kind, component) in components {
                let period = kind.period(atUnixSeconds: instant, in: rules)
                let date = Date(timeIntervalSince1970: Double(instant))
                let expected = try #require(calendar.dateInterval(of: component, for: date))
                let isSame =
                    period.start == Int(expected.start.timeIntervalSince1970)
                    && period.nextStart == Int(expected.end.timeIntervalSince1970)
                #expect(
                    isSame || goesBackAtMidnight(period, calendar.timeZone),
                    "\(kind) at \(instant): \(period), and \(expected)")
            }
        }
    }

    /// Where the end of a day comes twice, Foundation begins the next day at the second midnight or at none; the tables
    /// hold those cases.
    private func goesBackAtMidnight(_ period: CalendarPeriod, _ zone: TimeZone) -> Bool {
        [period.start, period.nextStart].contains { start in
            let before = zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(start - 90_000)))
            let after = zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(start + 90_000)))
            return before > after
        }
    }

    @Test(
        "a day begins at the first instant whose date is that day or later, by Foundation's offsets", arguments: zones)
    func first(_ name: String) throws {
        let rules = try ZoneFiles.rules(name)
        let zone = try #require(TimeZone(identifier: name))
        func day(_ instant: Int) -> Int {
            let local = instant + zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(instant)))
            return CivilDay.floorDivide(local, 86_400)
        }
        for instant in try Self.instants(seed: 3, count: 500) {
            let period = CalendarPeriodKind.day.period(atUnixSeconds: instant, in: rules)
            #expect(day(period.start) > day(period.start - 1))
            #expect(day(period.nextStart) > day(period.nextStart - 1))
            for probe in stride(from: period.start - 93_600, to: period.start, by: 1800) {
                #expect(day(probe) < day(period.start))
            }
        }
    }
}
