import RateLimitCore

extension OptionName {
    /// The option of a variable, or nil where the variable is unknown.
    init?(variable: String) {
        guard let option = Self.allCases.first(where: { $0.variable == variable }) else { return nil }
        self = option
    }
}

/// The known variable that an unknown one may be meant for: one that it is a part of, or that is a part of it, else the
/// one that it takes the fewest edits to become; nil where that is more than a third of it, without the prefix.
func nearestVariable(to name: String) -> String? {
    let isShared = name.hasPrefix(OptionName.sharedPrefix)
    let prefix = isShared ? OptionName.sharedPrefix : OptionName.variablePrefix
    let word = String(name.uppercased().dropFirst(prefix.count))
    let words = OptionName.allCases.filter { $0.isShared == isShared }.map {
        String($0.variable.dropFirst(prefix.count))
    }
    guard !word.isEmpty, let nearest = nearestName(to: word, among: words) else { return nil }
    let distance = editDistance(Array(word.utf8.prefix(64)), Array(nearest.utf8))
    if distance * 3 <= max(nearest.utf8.count, 3) { return prefix + nearest }
    let parts = words.filter { word.count >= 4 && $0.contains(word) || $0.count >= 4 && word.contains($0) }
    return nearestName(to: word, among: parts).map { prefix + $0 }
}
