/// Why a limits file is refused as a whole: the first thing in it that cannot be used.
public struct LimitsFileError: Error, Hashable, Sendable {
    /// The line, counted from 1; nil where the file as a whole is wrong.
    public let line: Int?
    /// What is wrong.
    public let reason: String
    /// What is accepted instead, where the reason does not say it: completes the sentence "accepted are …".
    public let accepted: String?

    init(line: Int?, _ reason: String, accepted: String? = nil) {
        self.line = line
        self.reason = reason
        self.accepted = accepted
    }
}

extension LimitsFileError: CustomStringConvertible {
    /// `line 4: the quota of limit member-spend is 5000.5: accepted are whole numbers from 0 to …`.
    public var description: String {
        let place = line.map { "line \($0): " } ?? ""
        return place + reason + (accepted.map { ": accepted are \($0)" } ?? "")
    }
}

/// A text of the file as a message may show it: on one line, and cut.
func shown(_ text: String) -> String {
    guard !text.isEmpty else { return "empty" }
    let characters = text.unicodeScalars.prefix(64).map { scalar -> String in
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned: "?"
        default: String(scalar)
        }
    }
    return characters.joined() + (text.unicodeScalars.count > 64 ? "…" : "")
}

/// A number with its thousands parted: `1,000,000`.
func grouped(_ number: Int) -> String {
    var text = ""
    for (index, digit) in String(number).reversed().enumerated() {
        if index > 0, index % 3 == 0 { text.append(",") }
        text.append(digit)
    }
    return String(text.reversed())
}
