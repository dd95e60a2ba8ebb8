extension StringProtocol {
    /// What stands behind a beginning, by bytes; nil where the text does not begin so.
    ///
    /// `hasPrefix` compares characters, and a combining mark behind a colon makes one character with it: `label:` is no
    /// prefix, in that sense, of a label's name that begins with a mark.
    package func text(behind start: String) -> String? {
        guard utf8.starts(with: start.utf8) else { return nil }
        return String(decoding: utf8.dropFirst(start.utf8.count), as: UTF8.self)
    }
}
