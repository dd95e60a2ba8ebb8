import RateLimitCore

extension OptionName {
    /// The option of a variable, or nil where the variable is unknown.
    init?(variable: String) {
        guard let option = Self.allCases.first(where: { $0.variable == variable }) else { return nil }
        self = option
    }
}

/// The known variable that takes the fewest edits to become, for "did you mean".
func nearestVariable(to name: String) -> String {
    nearestName(to: name.uppercased(), among: OptionName.allCases.map(\.variable)) ?? ""
}
