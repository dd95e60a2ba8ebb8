/// Refuses a text that can hardly be meant as a path, whatever files there are.
///
/// A path that ends in a line feed came from a file that was read whole, and names another file than the one that is
/// seen. The words are what templates and YAML tools write for a value that there is not, or for yes and no.
func checkPath(_ text: String) throws(ValueRejection) {
    try checkBlanks(text)
    if isWrittenForNothing(text) {
        throw ValueRejection("tools write \(text) for no value, or for yes and no; a file of that name is ./\(text)")
    }
}

/// Refuses a text that templates and YAML tools write for a value that there is not, or for yes and no.
func checkWord(_ text: String) throws(ValueRejection) {
    if isWrittenForNothing(text) { throw ValueRejection("tools write \(text) for no value, or for yes and no") }
}

private func isWrittenForNothing(_ text: String) -> Bool {
    ["null", "~", "none", "nil", "<nil>", "<no value>", "true", "false"].contains(text.lowercased())
}

/// Refuses blanks around a text, and control characters in it.
func checkBlanks(_ text: String) throws(ValueRejection) {
    let scalars = text.unicodeScalars
    if scalars.last == "\n" || scalars.last == "\r" { throw ValueRejection("it ends in a line feed") }
    if let first = scalars.first, isBlank(first) { throw ValueRejection("it begins with a blank") }
    if let last = scalars.last, isBlank(last) { throw ValueRejection("it ends in a blank") }
    if scalars.contains(where: { $0.properties.generalCategory == .control }) {
        throw ValueRejection("it holds a control character")
    }
}

/// Whether nothing is to be seen of a character: white space, a byte order mark, a zero-width space.
private func isBlank(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isWhitespace || scalar.properties.generalCategory == .format
}

/// A whole number as people write it, or as YAML tools and templates do: `20`, `20.0` and `1e+06`; nil where it is none
/// or outside the range.
func writtenNumber(_ text: String, in range: ClosedRange<Int>) -> Int? {
    if let number = decimalNumber(text[...], in: range) { return number }
    guard text.utf8.count <= 32 else { return nil }
    let parts = text.lowercased().split(separator: "e", maxSplits: 1, omittingEmptySubsequences: false)
    var exponent = 0
    if parts.count == 2 {
        let digits = parts[1].hasPrefix("+") ? parts[1].dropFirst() : parts[1]
        guard let number = decimalNumber(digits, in: 0...18) else { return nil }
        exponent = number
    }
    let mantissa = parts[0].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    let places = mantissa.count == 2 ? mantissa[1] : ""
    guard !mantissa[0].isEmpty, mantissa.count == 1 || !places.isEmpty else { return nil }
    var digits = mantissa[0] + places.prefix(exponent)
    digits += String(repeating: "0", count: max(0, exponent - places.utf8.count))
    guard places.dropFirst(exponent).allSatisfy({ $0 == "0" }) else { return nil }
    return decimalNumber(digits, in: range)
}

/// A number written with ASCII digits and nothing else, or nil: `Int(_:)` alone would also take "+1".
func decimalNumber(_ text: Substring, in range: ClosedRange<Int>) -> Int? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
        let number = Int(text), range.contains(number)
    else { return nil }
    return number
}

/// Whether a byte may stand in the name of a user or group.
func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    default:
        "._-".utf8.contains(byte)
    }
}

/// A number with commas between thousands.
func grouped(_ number: Int) -> String {
    let digits = String(number.magnitude)
    var text = number < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
        if index > 0 && (digits.count - index).isMultiple(of: 3) { text.append(",") }
        text.append(digit)
    }
    return text
}
