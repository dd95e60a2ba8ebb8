import Foundation
import TestSupport
import Testing

@testable import RateLimitCore

@Suite("An hour of the calendar")
struct CalendarHourTests {
    struct Row: CustomTestStringConvertible {
        var zone: String
        /// All in UTC.
        var instant: String
        var start: String
        var next: String

        init(_ zone: String, _ instant: String, _ start: String, _ next: String) {
            self.zone = zone
            self.instant = instant
            self.start = start
            self.next = next
        }

        var testDescription: String { "\(zone) at \(instant)" }
    }

    static let rows = [
        Row("UTC", "2026-11-28 22:31:07", "2026-11-28 22:00", "2026-11-28 23:00"),
        Row("UTC", "2026-11-28 22:00", "2026-11-28 22:00", "2026-11-28 23:00"),
        Row("UTC", "2026-11-28 21:59:59", "2026-11-28 21:00", "2026-11-28 22:00"),
        Row("UTC", "2024-02-29 23:30", "2024-02-29 23:00", "2024-03-01"),
        Row("UTC", "1969-12-31 23:59:59", "1969-12-31 23:00", "1970-01-01"),
        // Ahead of UTC by hours and a half, or three quarters.
        Row("Asia/Kolkata", "2026-11-28 22:29:59", "2026-11-28 21:30", "2026-11-28 22:30"),
        Row("Asia/Kathmandu", "2026-11-28 22:31", "2026-11-28 22:15", "2026-11-28 23:15"),
        Row("America/St_Johns", "2026-07-01 12:00", "2026-07-01 11:30", "2026-07-01 12:30"),
        Row("Pacific/Chatham", "2026-07-01 12:00", "2026-07-01 11:15", "2026-07-01 12:15"),
        // The hour that clocks repeat is two hours, and the one that they skip is none.
        Row("Europe/Berlin", "2024-10-27 00:30", "2024-10-27", "2024-10-27 01:00"),
        Row("Europe/Berlin", "2024-10-27 01:30", "2024-10-27 01:00", "2024-10-27 02:00"),
        Row("Europe/Berlin", "2024-03-31 00:59:59", "2024-03-31", "2024-03-31 01:00"),
        Row("Europe/Berlin", "2024-03-31 01:00", "2024-03-31 01:00", "2024-03-31 02:00"),
        // Clocks went back from 00:01 to 23:01, in the middle of an hour.
        Row("America/St_Johns", "2006-10-29 02:31:30", "2006-10-29 02:30", "2006-10-29 03:30"),
        // Clocks that are moved by half an hour at 2:00 show no full hour for 90 minutes.
        Row("Australia/Lord_Howe", "2024-04-06 14:59", "2024-04-06 14:00", "2024-04-06 15:30"),
        Row("Australia/Lord_Howe", "2024-04-06 15:29:59", "2024-04-06 14:00", "2024-04-06 15:30"),
        Row("Australia/Lord_Howe", "2024-04-06 15:30", "2024-04-06 15:30", "2024-04-06 16:30"),
        Row("Australia/Lord_Howe", "2024-10-05 15:45", "2024-10-05 14:30", "2024-10-05 16:00"),
    ]

    private static func zone(_ name: String) throws -> TimeZoneRules {
        name == "UTC" ? .utc : try ZoneFiles.rules(name)
    }

    @Test("begins and ends at the right instant", arguments: rows)
    func row(_ row: Row) throws {
        let period = try CalendarPeriodKind.hour.period(atUnixSeconds: seconds(row.instant), in: Self.zone(row.zone))
        #expect(period.start == (try seconds(row.start)))
        #expect(period.nextStart == (try seconds(row.next)))
    }

    @Test(
        "begins where Foundation's clocks show a full hour, and they show none in between, around all changes of 30 years",
        arguments: CalendarFoundationTests.zones)
    func fullHours(_ name: String) throws {
        let rules = try ZoneFiles.rules(name)
        let zone = try #require(TimeZone(identifier: name))
        func offset(_ instant: Int) -> Int { zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(instant))) }
        func isFull(_ instant: Int) -> Bool { CivilDay.remainder(instant + offset(instant), 3600) == 0 }
        for day in stride(from: try seconds("2000-01-01"), to: try seconds("2030-01-01"), by: 86_400)
        where offset(day) != offset(day + 86_400) {
            var hour = CalendarPeriodKind.hour.period(atUnixSeconds: day - 3600, in: rules)
            while hour.start < day + 90_000 {
                let next = CalendarPeriodKind.hour.period(atUnixSeconds: hour.nextStart, in: rules)
                // Offsets are whole minutes by now.
                let between = stride(from: hour.start + 60, to: hour.nextStart, by: 60)
                let isRight =
                    isFull(hour.start) && next.start == hour.nextStart && !between.contains(where: isFull)
                    && (hour.nextStart - hour.start) * 1000 <= CalendarPeriodKind.hour.longestMilliseconds
                try #require(isRight, "\(hour)")
                hour = next
            }
        }
    }

    @Test("is the same from its first second to its last", arguments: ["UTC", "Australia/Lord_Howe", "Asia/Kathmandu"])
    func partition(_ name: String) throws {
        let zone = try Self.zone(name)
        var hour = CalendarPeriodKind.hour.period(atUnixSeconds: try seconds("2024-04-06 10:00"), in: zone)
        for _ in 0..<12 {
            for instant in hour.start..<hour.nextStart {
                try #require(CalendarPeriodKind.hour.period(atUnixSeconds: instant, in: zone) == hour)
            }
            hour = CalendarPeriodKind.hour.period(atUnixSeconds: hour.nextStart, in: zone)
        }
    }

    @Test("is found where clocks are moved so often that they show no full hour for months")
    func restless() {
        // Before clocks show a full hour, they are moved by half an hour to where none is near.
        let changes = (0..<4000).map { step in
            TimeZoneRules.Change(instant: step * 1800 + 900, offset: step.isMultiple(of: 2) ? 0 : 1800)
        }
        let zone = TimeZoneRules(name: "Test/Restless", firstOffset: 0, changes: changes, footer: nil)
        let hour = CalendarPeriodKind.hour.period(atUnixSeconds: 4000 * 900, in: zone)
        #expect(hour == CalendarPeriod(start: 0, nextStart: 7_201_800))
        #expect(CalendarPeriodKind.hour.period(atUnixSeconds: hour.nextStart, in: zone).start == hour.nextStart)
    }
}
