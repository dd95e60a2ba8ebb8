/// A number of seconds in words, such as `12 minutes 5 seconds`: the two largest units, rounded up.
func durationText(seconds: Int) -> String {
    let units = [("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)]
    guard seconds > 0, let largest = units.firstIndex(where: { seconds >= $0.1 }) else { return "0 seconds" }
    let shown = units[largest..<min(largest + 2, units.count)]
    let smallest = shown.last?.1 ?? 1
    var rest = (seconds + smallest - 1) / smallest * smallest
    var parts: [String] = []
    for (name, length) in shown {
        let count = rest / length
        rest %= length
        if count > 0 { parts.append("\(count) \(name)\(count == 1 ? "" : "s")") }
    }
    return parts.joined(separator: " ")
}
