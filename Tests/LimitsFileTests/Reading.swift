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

/// What a refusal of `per:` says at its end.
let acceptedWindows =
    "accepted are user, group, global, model, provider and label:<name> with a name of 1 to 64 bytes, and lists of them "
    + "such as [user, label:session]"
