/// How a user appears in a log line.
public enum UserLogging: String, Sendable, CaseIterable {
    /// By the first 16 hexadecimal digits of the SHA-256 of the text, of a UUID in lower case.
    case hash
    /// By the text.
    case plain
    /// Not at all.
    case none
}
