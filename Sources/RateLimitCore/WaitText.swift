/// A wait in words: `12 minutes 5 seconds`.
///
/// Every unit from days to seconds that is not 0 is named, so that the text is never shorter than the wait.
public func waitText(seconds: Int) -> String {
    var parts: [String] = []
    var rest = max(0, seconds)
    for (unit, length) in [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)] {
        let count = rest / length
        rest %= length
        if count > 0 { parts.append(count == 1 ? "1 \(unit)" : "\(count) \(unit)s") }
    }
    return parts.isEmpty ? "0 seconds" : parts.joined(separator: " ")
}
