/// A place in a stream of Redis's, between entries: the id of the entry that was read last.
public struct StreamCursor: Hashable, Sendable, CustomStringConvertible {
    /// Milliseconds since 1970 by Redis's clock.
    let milliseconds: UInt64
    /// Tells entries of one millisecond apart.
    let sequence: UInt64

    /// Reads the text of a cursor; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let milliseconds = Self.number(parts[0]), let sequence = Self.number(parts[1]) else {
            return nil
        }
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    private init(milliseconds: UInt64, sequence: UInt64) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    private static func number(_ text: some StringProtocol) -> UInt64? {
        // No sign: UInt64 takes one.
        text.utf8.first.map { $0 &- 0x30 < 10 } == true ? UInt64(text) : nil
    }

    /// The text that ``init(_:)`` reads: `<milliseconds>-<sequence>`.
    public var description: String { "\(milliseconds)-\(sequence)" }

    /// The last place before this one; nil before everything. (Redis 6.2 and later could leave an end out.)
    var before: StreamCursor? {
        if sequence > 0 { return StreamCursor(milliseconds: milliseconds, sequence: sequence - 1) }
        return milliseconds > 0 ? StreamCursor(milliseconds: milliseconds - 1, sequence: .max) : nil
    }

    /// The first place behind this one; nil behind everything.
    var after: StreamCursor? {
        if sequence < .max { return StreamCursor(milliseconds: milliseconds, sequence: sequence + 1) }
        return milliseconds < .max ? StreamCursor(milliseconds: milliseconds + 1, sequence: 0) : nil
    }

    /// The place before everything.
    public static let start = StreamCursor(milliseconds: 0, sequence: 0)
}

extension StreamCursor: Comparable {
    /// Whether one place comes before another.
    public static func < (one: StreamCursor, other: StreamCursor) -> Bool {
        (one.milliseconds, one.sequence) < (other.milliseconds, other.sequence)
    }
}
