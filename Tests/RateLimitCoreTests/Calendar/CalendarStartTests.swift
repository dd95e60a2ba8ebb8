import TestSupport
import Testing

@testable import RateLimitCore

@Suite("The day on which a month, a quarter or a year begins")
struct CalendarStartTests {
    struct Row: CustomTestStringConvertible {
        var kind: CalendarPeriodKind
        var starts: String
        /// All in UTC.
        var instant: String
        var start: String
        var next: String
        var zone: String

        init(
            _ kind: CalendarPeriodKind, _ starts: String, _ instant: String, _ start: String, _ next: String,
            zone: String = "UTC"
        ) {
            self.kind = kind
            self.starts = starts
            self.instant = instant
            self.start = start
            self.next = next
            self.zone = zone
        }

        var testDescription: String { "\(kind.rawValue) from \(starts) in \(zone) at \(instant)" }
    }

    static let rows = [
        Row(.month, "15", "2026-11-28", "2026-11-15", "2026-12-15"),
        Row(.month, "15", "2026-11-14 23:59:59", "2026-10-15", "2026-11-15"),
        Row(.month, "15", "2026-01-03", "2025-12-15", "2026-01-15"),
        Row(.month, "1", "2024-02-29", "2024-02-01", "2024-03-01"),
        // A month without the day begins on its last one, in leap years on the 29th of February.
        Row(.month, "31", "2023-03-01", "2023-02-28", "2023-03-31"),
        Row(.month, "31", "2024-02-28 23:00", "2024-01-31", "2024-02-29"),
        Row(.month, "31", "2024-02-29", "2024-02-29", "2024-03-31"),
        Row(.month, "31", "2024-04-30", "2024-04-30", "2024-05-31"),
        Row(.month, "30", "2100-03-01", "2100-02-28", "2100-03-30"),
        Row(.month, "29", "2000-02-29", "2000-02-29", "2000-03-29"),
        Row(.quarter, "1", "2026-11-28", "2026-10-01", "2027-01-01"),
        Row(.quarter, "15", "2026-01-14", "2025-10-15", "2026-01-15"),
        Row(.quarter, "15", "2026-06-30", "2026-04-15", "2026-07-15"),
        // Every three months from the day of the fiscal year.
        Row(.quarter, "02-29", "2024-02-29", "2024-02-29", "2024-05-29"),
        Row(.quarter, "02-29", "2023-03-01", "2023-02-28", "2023-05-29"),
        Row(.quarter, "11-30", "2023-02-28", "2023-02-28", "2023-05-30"),
        Row(.quarter, "12-01", "2026-01-01", "2025-12-01", "2026-03-01"),
        Row(.year, "1", "2024-12-31 23:59:59", "2024-01-01", "2025-01-01"),
        Row(.year, "15", "2026-01-14", "2025-01-15", "2026-01-15"),
        Row(.year, "04-06", "2026-04-05", "2025-04-06", "2026-04-06"),
        Row(.year, "04-06", "2026-04-06", "2026-04-06", "2027-04-06"),
        Row(.year, "02-29", "2024-02-29", "2024-02-29", "2025-02-28"),
        Row(.year, "02-29", "2025-02-28", "2025-02-28", "2026-02-28"),
        Row(.year, "12-31", "2024-12-30", "2023-12-31", "2024-12-31"),
        // At the zone's own midnight, and where that is left out, at the first instant behind it.
        Row(.month, "31", "2024-03-31 12:00", "2024-03-30 23:00", "2024-04-29 22:00", zone: "Europe/Berlin"),
        Row(.year, "07-01", "2026-07-01", "2026-06-30 18:15", "2027-06-30 18:15", zone: "Asia/Kathmandu"),
        Row(.month, "30", "2011-12-30 10:00", "2011-12-30 10:00", "2012-01-29 10:00", zone: "Pacific/Apia"),
        Row(.month, "4", "2018-11-04 03:00", "2018-11-04 03:00", "2018-12-04 02:00", zone: "America/Sao_Paulo"),
    ]

    private func zone(_ name: String) throws -> TimeZoneRules { name == "UTC" ? .utc : try ZoneFiles.rules(name) }

    @Test("is kept", arguments: rows)
    func row(_ row: Row) throws {
        let start = try #require(CalendarStart(row.starts, hasMonth: row.kind != .month))
        let period = try row.kind.period(
            atUnixSeconds: seconds(row.instant), in: zone(row.zone), starting: start)
        #expect(period.start == (try seconds(row.start)))
        #expect(period.nextStart == (try seconds(row.next)))
    }

    @Test("parts all time into periods, whichever day it is", arguments: ["UTC", "America/Sao_Paulo", "Pacific/Apia"])
    func partition(_ name: String) throws {
        let zone = try zone(name)
        for kind in [CalendarPeriodKind.month, .quarter, .year] {
            for (month, day) in [(1, 31), (2, 29), (4, 6), (8, 30), (11, 30), (12, 31)] {
                let start = CalendarStart(month: month, day: day)
                func period(_ instant: Int) -> CalendarPeriod {
                    kind.period(atUnixSeconds: instant, in: zone, starting: start)
                }
                var this = period(try seconds("1995-06-15"))
                for _ in 0..<120 {
                    #expect(period(this.start) == this && period(this.nextStart - 1) == this)
                    #expect((this.nextStart - this.start) * 1000 <= kind.longestMilliseconds)
                    let next = period(this.nextStart)
                    #expect(next.start == this.nextStart && next.nextStart > next.start)
                    this = next
                }
            }
        }
    }

    @Test("comes with the periods before and behind")
    func boundaries() throws {
        let around = CalendarPeriodKind.month.boundaries(
            aroundUnixSeconds: try seconds("2024-03-05"), in: .utc, starting: CalendarStart(day: 31))
        let expected = try CalendarBoundaries(
            previousStart: seconds("2024-01-31"), start: seconds("2024-02-29"), nextStart: seconds("2024-03-31"),
            afterNextStart: seconds("2024-04-30"))
        #expect(around == expected)
    }

    @Test("is read as it is written, and nothing else is a day")
    func text() {
        for (text, hasMonth, month, day) in [
            ("1", false, 1, 1), ("31", false, 1, 31), ("07", false, 1, 7), ("15", true, 1, 15), ("04-06", true, 4, 6),
            ("01-01", true, 1, 1), ("02-29", true, 2, 29),
        ] { #expect(CalendarStart(text, hasMonth: hasMonth) == CalendarStart(month: month, day: day), "\(text)") }
        for text in [
            "", "0", "32", "-1", "1.0", "+1", "001", "00", "04-06-", "-04-06", "4-6", "04-6", "13-01", "00-01", "02-30",
            "04-31", "04-00", "1-", "monday", "\u{661}", "2024-04-06", "04 06",
        ] { #expect(CalendarStart(text, hasMonth: true) == nil, "\(text)") }
        #expect(CalendarStart("04-06", hasMonth: false) == nil)
        for start in [CalendarStart(day: 15), CalendarStart(month: 4, day: 6), CalendarStart(month: 12, day: 31)] {
            #expect(CalendarStart(start.text, hasMonth: true) == start)
        }
    }
}
