/// Why a catalogue of metrics was refused. Each is a mistake in the program, found when it starts.
public enum MetricCatalogueError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The name is no Prometheus metric name.
    case invalidName(String)
    /// Two descriptions, or a description and a metric that the page always has, share a name.
    case duplicateName(String)
    /// The metric has no help text.
    case emptyHelp(name: String)
    /// The bounds are none, too many, not positive or not ascending.
    case invalidBounds(name: String, bounds: [Int64])

    /// The reason in one line, with what would be accepted.
    public var description: String {
        switch self {
        case .invalidName(let name):
            "cannot describe metric \"\(name)\": a name has letters, digits, '_' and ':' and starts with no digit"
        case .duplicateName(let name):
            "cannot describe metric \"\(name)\": the name is taken; every metric needs a name of its own"
        case .emptyHelp(let name):
            "cannot describe metric \"\(name)\": it has no help text; one sentence is needed"
        case .invalidBounds(let name, let bounds):
            "cannot describe metric \"\(name)\": bounds \(bounds) are not 1 to \(HistogramLimits.bounds) "
                + "positive numbers in ascending order"
        }
    }
}

extension MetricDescription {
    /// Checks everything about the description that does not depend on the others.
    func validate() throws(MetricCatalogueError) {
        guard isMetricName(name) else { throw .invalidName(name) }
        guard !help.isEmpty else { throw .emptyHelp(name: name) }
        guard let bounds = kind.bounds else { return }
        let ascending = zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }
        guard ascending, let lowest = bounds.first, lowest > 0, bounds.count <= HistogramLimits.bounds else {
            throw .invalidBounds(name: name, bounds: bounds)
        }
    }
}

private func isMetricName(_ name: String) -> Bool {
    guard let first = name.utf8.first, !isDigit(first) else { return false }
    return name.utf8.allSatisfy { isLetterOrUnderscore($0) || isDigit($0) || $0 == UInt8(ascii: ":") }
}

func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
}

func isLetterOrUnderscore(_ byte: UInt8) -> Bool {
    let lower = byte | 0x20
    return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "z") || byte == UInt8(ascii: "_")
}
