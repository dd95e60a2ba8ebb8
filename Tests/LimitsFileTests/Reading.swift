import RateLimitCore
import Testing

@testable import LimitsFile

let zones = TimeZoneFolder()

func read(_ text: String) throws -> LimitsFileContent {
    try LimitsFileContent(reading: Array(text.utf8), timeZones: zones)
}

/// What an operator reads of a file that is refused.
func refusal(_ text: String) -> String {
    refusal(Array(text.utf8))
}

func refusal(_ bytes: [UInt8]) -> String {
    do {
        _ = try LimitsFileContent(reading: bytes, timeZones: zones)
        return "read"
    } catch {
        return error.description
    }
}
