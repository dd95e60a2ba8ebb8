import Testing

@testable import RateLimitCore

@Suite("A calendar period")
struct CalendarTableTests {
    struct Row: CustomTestStringConvertible {
        var zone: String
        var kind: CalendarPeriodKind
        /// All in UTC.
        var instant: String
        var start: String
        var next: String

        init(_ zone: String, _ kind: CalendarPeriodKind, _ instant: String, _ start: String, _ next: String) {
            self.zone = zone
            self.kind = kind
            self.instant = instant
            self.start = start
            self.next = next
        }

        var testDescription: String { "\(kind.rawValue) in \(zone) at \(instant)" }
    }

    static let rows = [
        Row("UTC", .day, "1970-01-01", "1970-01-01", "1970-01-02"),
        Row("UTC", .day, "1969-12-31 23:59:59", "1969-12-31", "1970-01-01"),
        Row("UTC", .day, "2024-02-29 12:00", "2024-02-29", "2024-03-01"),
        Row("UTC", .day, "2100-02-28 12:00", "2100-02-28", "2100-03-01"),
        Row("UTC", .month, "2024-02-29 23:59:59", "2024-02-01", "2024-03-01"),
        Row("UTC", .month, "2000-02-29", "2000-02-01", "2000-03-01"),
        Row("UTC", .month, "2023-12-31", "2023-12-01", "2024-01-01"),
        // Week 53 of 2020 reaches into 2021, and week 1 of 2025 begins in 2024.
        Row("UTC", .week, "2021-01-03 23:59:59", "2020-12-28", "2021-01-04"),
        Row("UTC", .week, "2021-01-04", "2021-01-04", "2021-01-11"),
        Row("UTC", .week, "2024-12-30", "2024-12-30", "2025-01-06"),
        Row("UTC", .week, "2026-12-31 10:00", "2026-12-28", "2027-01-04"),
        // A day of 23 hours and one of 25.
        Row("Europe/Berlin", .day, "2024-03-31 12:00", "2024-03-30 23:00", "2024-03-31 22:00"),
        Row("Europe/Berlin", .day, "2024-10-27 00:30", "2024-10-26 22:00", "2024-10-27 23:00"),
        Row("Europe/Berlin", .day, "2024-10-27 01:30", "2024-10-26 22:00", "2024-10-27 23:00"),
        Row("Europe/Berlin", .month, "2024-03-31 21:59:59", "2024-02-29 23:00", "2024-03-31 22:00"),
        Row("Europe/Berlin", .week, "2024-10-27 22:59:59", "2024-10-20 22:00", "2024-10-27 23:00"),
        // Beyond the changes the file lists.
        Row("Europe/Berlin", .day, "2099-07-01 12:00", "2099-06-30 22:00", "2099-07-01 22:00"),
        Row("America/New_York", .month, "2026-03-08 06:59", "2026-03-01 05:00", "2026-04-01 04:00"),
        // Midnight does not exist: the day begins at 01:00.
        Row("America/Sao_Paulo", .day, "2018-11-04 12:00", "2018-11-04 03:00", "2018-11-05 02:00"),
        Row("America/Sao_Paulo", .day, "2018-11-04 02:59:59", "2018-11-03 03:00", "2018-11-04 03:00"),
        // Midnight is where clocks go back to 23:00, and comes one hour later.
        Row("America/Sao_Paulo", .day, "2018-02-18 02:30", "2018-02-17 02:00", "2018-02-18 03:00"),
        Row("Asia/Beirut", .day, "2022-03-27 12:00", "2022-03-26 22:00", "2022-03-27 21:00"),
        // Clocks went back from 00:01 to 23:01: the first midnight begins the day.
        Row("America/St_Johns", .day, "2006-10-29 02:30:30", "2006-10-29 02:30", "2006-10-30 03:30"),
        Row("America/St_Johns", .day, "2006-10-29 03:00", "2006-10-29 02:30", "2006-10-30 03:30"),
        // A whole day is left out: from the 29th to the 31st.
        Row("Pacific/Apia", .day, "2011-12-30 09:59:59", "2011-12-29 10:00", "2011-12-30 10:00"),
        Row("Pacific/Apia", .day, "2011-12-30 10:00", "2011-12-30 10:00", "2011-12-31 10:00"),
        Row("Pacific/Apia", .week, "2011-12-31", "2011-12-26 10:00", "2012-01-01 10:00"),
        Row("Pacific/Apia", .month, "2011-12-31", "2011-12-01 10:00", "2011-12-31 10:00"),
        // Daylight saving time that is winter time in the file, and half an hour.
        Row("Europe/Dublin", .day, "2050-07-01", "2050-06-30 23:00", "2050-07-01 23:00"),
        Row("Australia/Lord_Howe", .day, "2024-04-06 20:00", "2024-04-06 13:00", "2024-04-07 13:30"),
        Row("Asia/Kathmandu", .day, "2024-01-01", "2023-12-31 18:15", "2024-01-01 18:15"),
        Row("Pacific/Kiritimati", .day, "2024-01-01 10:00", "2024-01-01 10:00", "2024-01-02 10:00"),
    ]

    @Test("begins and ends at the right instant", arguments: rows)
    func row(_ row: Row) throws {
        let zone = row.zone == "UTC" ? TimeZoneRules.utc : try ZoneFiles.rules(row.zone)
        let period = row.kind.period(atUnixSeconds: try seconds(row.instant), in: zone)
        #expect(period.start == (try seconds(row.start)))
        #expect(period.nextStart == (try seconds(row.next)))
    }

    @Test("is found from its first second to its last, in each kind of period", arguments: CalendarPeriodKind.allCases)
    func partition(_ kind: CalendarPeriodKind) throws {
        for name in ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "America/St_Johns", "Africa/Cairo"] {
            let zone = name == "UTC" ? TimeZoneRules.utc : try ZoneFiles.rules(name)
            var period = kind.period(atUnixSeconds: try seconds("1986-12-30"), in: zone)
            for _ in 0..<([.hour, .day].contains(kind) ? 10_000 : kind == .year ? 200 : 1000) {
                #expect(period.start < period.nextStart)
                #expect(kind.period(atUnixSeconds: period.start, in: zone) == period)
                #expect(kind.period(atUnixSeconds: period.nextStart - 1, in: zone) == period)
                let next = kind.period(atUnixSeconds: period.nextStart, in: zone)
                #expect(next.start == period.nextStart)
                period = next
            }
        }
    }

    @Test("comes with the one before and the two behind it")
    func boundaries() throws {
        let zone = try ZoneFiles.rules("Pacific/Apia")
        let boundaries = CalendarPeriodKind.day.boundaries(aroundUnixSeconds: try seconds("2011-12-30 11:00"), in: zone)
        #expect(boundaries.previousStart == (try seconds("2011-12-29 10:00")))
        #expect(boundaries.start == (try seconds("2011-12-30 10:00")))
        #expect(boundaries.nextStart == (try seconds("2011-12-31 10:00")))
        #expect(boundaries.afterNextStart == (try seconds("2012-01-01 10:00")))
    }

    @Test("is found for any number at all", arguments: CalendarPeriodKind.allCases)
    func anyNumber(_ kind: CalendarPeriodKind) throws {
        let zone = try ZoneFiles.rules("Europe/Berlin")
        for instant in [Int.min, .max, TimeZoneRules.instants.lowerBound, TimeZoneRules.instants.upperBound] {
            let boundaries = kind.boundaries(aroundUnixSeconds: instant, in: zone)
            #expect(boundaries.start < boundaries.nextStart)
        }
    }
}
