import TestSupport
import Testing

@testable import RateLimitCore

@Suite("A time zone's file")
struct TimeZoneFileTests {
    private func read(_ bytes: [UInt8]) throws -> TimeZoneRules { try TimeZoneRules(name: "Test/Zone", file: bytes) }

    @Test("of few changes and a rule is read")
    func synthetic() throws {
        let zone = try read(
            zoneFile(changes: [(0, 1), (1000, 0)], offsets: [3600, -7200], footer: "CET-1CEST,M3.5.0,M10.5.0/3"))
        #expect(zone.utcOffset(atUnixSeconds: -1) == 3600)
        #expect(zone.utcOffset(atUnixSeconds: 0) == -7200)
        #expect(zone.utcOffset(atUnixSeconds: 999) == -7200)
        #expect(zone.utcOffset(atUnixSeconds: 1000) == 3600)
        #expect(zone.utcOffset(atUnixSeconds: try seconds("2030-03-31 00:59:59")) == 3600)
        #expect(zone.utcOffset(atUnixSeconds: try seconds("2030-03-31 01:00")) == 7200)
        #expect(zone.utcOffset(atUnixSeconds: try seconds("2030-10-27 00:59:59")) == 7200)
        #expect(zone.utcOffset(atUnixSeconds: try seconds("2030-10-27 01:00")) == 3600)
    }

    @Test("without a footer keeps its last offset")
    func noFooter() throws {
        let zone = try read(zoneFile(changes: [(0, 1)], offsets: [0, 5400], footer: ""))
        #expect(zone.utcOffset(atUnixSeconds: 4_000_000_000) == 5400)
    }

    @Test("of version 1 is read from its only block")
    func versionOne() throws {
        let counts: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4]
        let types: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0x0e, 0x10, 1, 0, 0x41, 0x41, 0x41, 0]
        let file =
            Array("TZif".utf8) + [UInt8](repeating: 0, count: 16) + counts + [0xff, 0xff, 0xff, 0xff, 1] + types
        let zone = try read(file)
        #expect(zone.utcOffset(atUnixSeconds: -2) == 0)
        #expect(zone.utcOffset(atUnixSeconds: -1) == 3600)
        #expect(throws: TimeZoneFileError.trailingBytes) { try read(file + [0]) }
    }

    @Test("is refused for what is wrong with it")
    func refused() throws {
        let good = zoneFile(changes: [(0, 1), (1000, 0)], offsets: [3600, -7200], footer: "CET-1")
        func changed(_ index: Int, _ byte: UInt8) -> [UInt8] {
            var bytes = good
            bytes[index] = byte
            return bytes
        }
        _ = try read(good)
        #expect(throws: TimeZoneFileError.notTimeZoneFile) { try read([]) }
        #expect(throws: TimeZoneFileError.notTimeZoneFile) { try read(Array("no zone".utf8)) }
        #expect(throws: TimeZoneFileError.notTimeZoneFile) { try read(changed(0, 0x20)) }
        #expect(throws: TimeZoneFileError.unknownVersion) { try read(changed(4, 0x35)) }
        #expect(throws: TimeZoneFileError.unknownVersion) { try read(changed(4, 0x33)) }
        #expect(throws: TimeZoneFileError.truncated) { try read(Array(good.dropLast())) }
        #expect(throws: TimeZoneFileError.trailingBytes) { try read(good + [0x0a]) }
        #expect(throws: TimeZoneFileError.tooLong) { try read([UInt8](repeating: 0, count: 65_537)) }
        // The second header begins at 54; its data at 98: 2 times of 8 bytes, 2 types, 2 times 6 bytes.
        #expect(throws: TimeZoneFileError.counts) { try read(changed(54 + 39, 0)) }
        #expect(throws: TimeZoneFileError.counts) { try read(changed(54 + 23, 1)) }
        #expect(throws: TimeZoneFileError.truncated) { try read(changed(54 + 32, 0xff)) }
        #expect(throws: TimeZoneFileError.badIndex) { try read(changed(98 + 16, 2)) }
        #expect(throws: TimeZoneFileError.badLocalTime) { try read(changed(98 + 18, 0x7f)) }
        #expect(throws: TimeZoneFileError.badLocalTime) { try read(changed(98 + 22, 2)) }
        #expect(throws: TimeZoneFileError.badIndex) { try read(changed(98 + 23, 4)) }
        #expect(throws: TimeZoneFileError.badFooter) { try read(changed(good.count - 4, 0x2d)) }
        let back = zoneFile(changes: [(1000, 1), (1000, 0)], offsets: [0, 1], footer: "")
        #expect(throws: TimeZoneFileError.changesOutOfOrder) { try read(back) }
        var leaping = good
        leaping[54 + 31] = 1
        leaping.insert(contentsOf: [UInt8](repeating: 0, count: 12), at: good.count - 7)
        #expect(throws: TimeZoneFileError.leapSeconds) { try read(leaping) }
        #expect(Set(TimeZoneFileError.allCases.map(\.description)).count == TimeZoneFileError.allCases.count)
    }

    @Test("that ends anywhere too early is refused", arguments: ["Europe/Berlin", "America/Sao_Paulo", "Asia/Gaza"])
    func truncated(_ name: String) throws {
        let bytes = try ZoneFiles.bytes(name)
        for length in bytes.indices {
            #expect(throws: TimeZoneFileError.self) { try read(Array(bytes[..<length])) }
        }
    }

    @Test(
        "with flipped bytes is refused or read, and then answers for every instant",
        arguments: ["Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Africa/Casablanca"])
    func flipped(_ name: String) throws {
        let bytes = try ZoneFiles.bytes(name)
        var random = SeededGenerator(seed: 6)
        var read = 0
        for _ in 0..<3000 {
            var changed = bytes
            for _ in 0...Int(random.next() % 3) {
                changed[Int(random.next() % UInt64(changed.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            guard let zone = try? self.read(changed) else { continue }
            read += 1
            for instant in [0, 1_000_000_000, Int(random.next() % 4_000_000_000), .min, .max] {
                let boundaries = CalendarPeriodKind.day.boundaries(aroundUnixSeconds: instant, in: zone)
                #expect(boundaries.start < boundaries.nextStart)
                #expect(TimeZoneRules.offsets.contains(zone.utcOffset(atUnixSeconds: instant)))
            }
        }
        #expect(read > 0)
    }

    @Test("of random bytes behind the right beginning is refused or read")
    func random() {
        var random = SeededGenerator(seed: 7)
        for _ in 0..<20_000 {
            var bytes = Array("TZif".utf8) + [[0, 0x32, 0x33, 0x34][Int(random.next() % 4)]]
            for _ in 0..<Int(random.next() % 200) {
                bytes.append(random.next() % 2 == 0 ? 0 : UInt8(truncatingIfNeeded: random.next() % 8))
            }
            guard let zone = try? read(bytes) else { continue }
            _ = CalendarPeriodKind.month.boundaries(aroundUnixSeconds: 0, in: zone)
        }
    }
}

@Suite("A rule for all years")
struct PosixTimeZoneTests {
    private func zone(_ text: String) -> PosixTimeZone? { PosixTimeZone(Array(text.utf8)[...]) }

    @Test(
        "is read in each form",
        arguments: [
            ("UTC0", "2024-07-01", 0), ("CET-1", "2024-07-01", 3600), ("<+0545>-5:45", "2024-07-01", 20_700),
            ("<-03>3", "2024-07-01", -10_800), ("EST5EDT,M3.2.0,M11.1.0", "2024-07-01", -14_400),
            ("EST5EDT,M3.2.0,M11.1.0", "2024-01-01", -18_000),
            // Winter time as the daylight time, with an offset before that of standard time.
            ("IST-1GMT0,M10.5.0,M3.5.0/1", "2024-07-01", 3600), ("IST-1GMT0,M10.5.0,M3.5.0/1", "2024-01-01", 0),
            // Days of the year, with and without February 29.
            ("AAA0BBB,J60/0,J300/0", "2024-03-01 00:00", 3600), ("AAA0BBB,J60/0,J300/0", "2024-02-29 23:59:59", 0),
            ("AAA0BBB,59/0,J300/0", "2024-02-29 00:00", 3600), ("AAA0BBB,59/0,J300/0", "2023-02-28 23:59:59", 0),
            // Daylight time all year, as RFC 9636 writes it.
            ("XXX3EDT4,0/0,J365/23", "2024-12-31 23:30", -14_400), ("XXX3EDT4,0/0,J365/23", "2024-07-01", -14_400),
            // Times before the day and beyond it.
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2024-03-31 01:00", -3600),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2024-03-31 00:59:59", -7200),
            ("IST-2IDT,M3.4.4/26,M10.5.0", "2024-03-29 00:00", 10_800),
            ("IST-2IDT,M3.4.4/26,M10.5.0", "2024-03-28 23:59:59", 7200),
        ])
    func read(_ text: String, _ instant: String, _ offset: Int) throws {
        #expect(try #require(zone(text)).span(at: seconds(instant)).offset == offset)
    }

    @Test(
        "is refused in any other",
        arguments: [
            "", "CE-1", "CET", "CET-25", "CET-1:60", "<CET-1", "<a*b>3", "CET-1CEST", "CET-1CEST,M3.5.0",
            "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.6.0,M10.5.0", "CET-1CEST,M3.5.7,M10.5.0", "CET-1CEST,J0,J1",
            "CET-1CEST,366,J1", "CET-1CEST,M3.5.0/168,J1", "CET-1CEST,M3.5.0,M10.5.0,", "CET-1 ", "CET-0001",
        ])
    func refused(_ text: String) {
        #expect(zone(text) == nil)
    }
}
