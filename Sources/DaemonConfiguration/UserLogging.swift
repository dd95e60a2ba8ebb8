/// How a user appears in a log line.
public enum UserLogging: String, Sendable, CaseIterable {
    /// By the first 16 hexadecimal digits of the SHA-256 of the UUID's canonical text.
    case hash
    /// By the UUID.
    case plain
    /// Not at all.
    case none
}
