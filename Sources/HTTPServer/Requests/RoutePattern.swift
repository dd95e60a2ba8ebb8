/// What the paths of a route look like, as `/v1/groups/<group>/members/<user>`: one segment stands for each name in angle
/// brackets, and a last `*` for any path at or below what is before it.
struct RoutePattern: Hashable, Sendable, ExpressibleByStringInterpolation, CustomStringConvertible {
    /// One part of a pattern between slashes.
    enum Segment: Hashable, Sendable {
        case literal(String)
        /// Any text, which the route reads under this name.
        case parameter(String)
    }

    /// As it is written in the table and in the pages.
    let description: String
    let segments: [Segment]
    /// Whether it matches the paths below its segments as well.
    let matchesBelow: Bool

    init(stringLiteral text: String) {
        precondition(text.hasPrefix("/"), "a pattern is a path")
        let parts = Self.split(text[...])
        description = text
        matchesBelow = parts.last == "*"
        segments = (matchesBelow ? parts.dropLast() : parts[...]).map { part in
            part.hasPrefix("<") ? .parameter(String(part.dropFirst().dropLast())) : .literal(String(part))
        }
    }

    /// The segments of a path, before anything in them is decoded: `%2F` ends none.
    static func split(_ path: Substring) -> [Substring] {
        path.split(separator: "/", omittingEmptySubsequences: false)
    }

    /// Whether a path with these segments is one of the pattern's.
    func matches(_ path: [Substring]) -> Bool {
        guard path.count == segments.count || matchesBelow && path.count > segments.count else { return false }
        return zip(segments, path).allSatisfy { segment, text in
            switch segment {
            case .literal(let literal): text == literal
            case .parameter: true
            }
        }
    }

    /// Where the parameter of a name stands; nil where the pattern has none.
    func place(of parameter: String) -> Int? { segments.firstIndex(of: .parameter(parameter)) }
}
