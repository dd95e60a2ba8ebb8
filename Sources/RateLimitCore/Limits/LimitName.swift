/// What a limit is called in files, answers, metrics and keys.
///
/// 1 to 64 bytes of `a-z`, `0-9`, `-`, `_` and `.`, the first of them a letter or a digit: safe in a Redis key, a
/// metric's label and a URL without any quoting.
public struct LimitName: Hashable, Sendable {
    /// The name as it is written.
    public let text: String

    /// How many bytes a name has.
    public static let lengths = 1...64

    /// The name of the limit that the environment gives; no file may define it.
    public static let requests = LimitName(checked: "requests")
    /// The name that makes a limit the one `spend_limit_micros` sets.
    public static let spend = LimitName(checked: "spend")

    /// Reads a name; nil for anything else.
    public init?(_ text: String) {
        guard Self.lengths.contains(text.utf8.count), let first = text.utf8.first,
            Self.isLetterOrDigit(first), text.utf8.allSatisfy({ Self.isLetterOrDigit($0) || "-_.".utf8.contains($0) })
        else { return nil }
        self.init(checked: text)
    }

    private init(checked text: String) {
        self.text = text
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}

extension LimitName: CustomStringConvertible {
    /// The name as it is written.
    public var description: String { text }
}
