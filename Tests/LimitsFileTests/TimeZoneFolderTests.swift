import RateLimitCore
import Testing

@testable import LimitsFile

@Suite("The folder of time zones")
struct TimeZoneFolderTests {
    @Test("is that of TZDIR, else the system's")
    func path() {
        #expect(TimeZoneFolder(environment: [:]).path == "/usr/share/zoneinfo")
        #expect(TimeZoneFolder(environment: ["TZDIR": ""]).path == "/usr/share/zoneinfo")
        #expect(TimeZoneFolder(environment: ["TZDIR": "/nowhere"]).path == "/nowhere")
    }

    @Test(
        "leads to no other file", arguments: ["", "/etc/passwd", "../passwd", "a/../b", "a//b", "a/", ".", "a b", "é"])
    func names(_ name: String) {
        #expect(throws: TimeZoneFolderError.badName) { try zones.rules(named: name) }
    }

    @Test("has no zone that is a folder, and none that is missing", arguments: ["Europe", "Europe/Bern", "UTC/x"])
    func missing(_ name: String) {
        #expect(throws: TimeZoneFolderError.missing(folder: "/usr/share/zoneinfo")) { try zones.rules(named: name) }
    }

    @Test("needs no file for UTC")
    func utc() throws {
        #expect(try TimeZoneFolder(path: "/nowhere").rules(named: "UTC") == .utc)
        #expect(try TimeZoneFolder(path: "/nowhere").rules(named: "Etc/UTC") == .utc)
    }
}
