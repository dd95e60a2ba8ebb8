/// A value of a configuration with at least one `*`, each of which stands for any bytes, also for none.
package struct WildcardPattern: Sendable {
    /// What stands before the first `*`.
    private let start: [UInt8]
    /// What stands between two of them, in order; none is empty.
    private let middles: [[UInt8]]
    /// What stands behind the last `*`.
    private let end: [UInt8]
    /// The fewest bytes that match.
    private let leastCount: Int

    static let mark = UInt8(ascii: "*")

    /// Reads a value; nil where it has no `*`.
    package init?(_ value: String) {
        let parts = value.utf8.split(separator: Self.mark, omittingEmptySubsequences: false).map(Array.init)
        guard let start = parts.first, let end = parts.last, parts.count > 1 else { return nil }
        self.start = start
        self.end = end
        middles = parts[1..<parts.count - 1].filter { !$0.isEmpty }
        leastCount = parts.reduce(0) { $0 + $1.count }
    }

    /// Whether a value is as the pattern says.
    package func matches(_ value: String) -> Bool {
        var value = value
        return value.withUTF8(matches)
    }

    private func matches(_ value: UnsafeBufferPointer<UInt8>) -> Bool {
        guard value.count >= leastCount, value.starts(with: start), value.suffix(end.count).elementsEqual(end) else {
            return false
        }
        var place = start.count
        // The first place of each part leaves the most for those behind it.
        for middle in middles {
            guard let found = Self.place(of: middle, in: value, from: place, to: value.count - end.count) else {
                return false
            }
            place = found + middle.count
        }
        return true
    }

    /// The first place of a part within some bytes of a value; nil where it is not there.
    private static func place(
        of part: [UInt8], in value: UnsafeBufferPointer<UInt8>, from first: Int, to end: Int
    ) -> Int? {
        // Values come from clients, and may be long: nearly all places are passed over for their first byte.
        for place in first..<max(first, end - part.count + 1) where value[place] == part[0] {
            if value[place..<place + part.count].elementsEqual(part) { return place }
        }
        return nil
    }
}
