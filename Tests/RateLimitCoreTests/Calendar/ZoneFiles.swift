import Foundation
import Testing

@testable import RateLimitCore

/// The system's zones, which scripts/test installs.
enum ZoneFiles {
    static let folder = "/usr/share/zoneinfo"

    static func bytes(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)")))
    }

    static func rules(_ name: String) throws -> TimeZoneRules {
        try TimeZoneRules(name: name, file: bytes(name))
    }
}

/// A date and time of day as if it were UTC, in Unix seconds: `2018-11-04 01:00`.
func seconds(_ text: String) throws -> Int {
    let numbers = text.split { "- :".contains($0) }.compactMap { Int($0) }
    try #require(numbers.count == 3 || numbers.count == 5 || numbers.count == 6)
    let time = Array(numbers.dropFirst(3)) + [0, 0, 0]
    return CivilDay.day(year: numbers[0], month: numbers[1], day: numbers[2]) * 86_400 + time[0] * 3600 + time[1] * 60
        + time[2]
}

/// A whole TZif file of version 2 with an empty first block.
func zoneFile(changes: [(Int, UInt8)], offsets: [Int32], footer: String, version: UInt8 = 0x32) -> [UInt8] {
    func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
    func header(changes: Int, types: Int) -> [UInt8] {
        let counts = [0, 0, 0, changes, types, 4].flatMap { bigEndian(UInt32($0)) }
        return Array("TZif".utf8) + [version] + [UInt8](repeating: 0, count: 15) + counts
    }
    func data(_ changes: [(Int, UInt8)], _ offsets: [Int32]) -> [UInt8] {
        changes.flatMap { bigEndian(Int64($0.0)) } + changes.map(\.1)
            + offsets.flatMap { bigEndian($0) + [0, 0] } + [0x58, 0x58, 0x58, 0]
    }
    return header(changes: 0, types: 1) + data([], [0]) + header(changes: changes.count, types: offsets.count)
        + data(changes, offsets) + Array("\n\(footer)\n".utf8)
}
