/// The words in backticks that the repository cannot show to be right, each with the reason.
enum KnownWords {
    /// Words, and why no file of this repository has them.
    static let reasons: [String: String] = [
        "xxd": "a program of Debian's",
    ]

    static func isKnown(_ word: String) -> Bool { reasons[word] != nil }
}
