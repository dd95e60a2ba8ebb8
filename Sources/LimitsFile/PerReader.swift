import RateLimitCore

/// Reads who shares a window of a limit: `per:`, and what goes with it, `missing:` and `max_values:`.
struct PerReader {
    /// Whose windows a limit has.
    struct Windows {
        var scope: LimitScope
        var values: [CallValue] = []
        var missing = MissingValue.ignore
        var maximumValues: Int?
    }

    private let map: MapReader

    private static let accepted =
        "user, group, global, model, provider and label:<name> with a name of 1 to "
        + "\(CallAttributes.nameLengths.upperBound) bytes, and lists of them such as [user, label:session]"

    /// One word of `per:`.
    private enum Word: Hashable {
        case user
        case global
        case value(CallValue)

        init?(_ text: String) {
            switch text {
            case "user": self = .user
            case "global": self = .global
            case "group": self = .value(.group)
            case "model": self = .value(.model)
            case "provider": self = .value(.provider)
            default:
                guard let name = text.text(behind: "label:"), CallAttributes.nameLengths.contains(name.utf8.count)
                else {
                    return nil
                }
                self = .value(.label(name))
            }
        }
    }

    init(_ limit: MapReader) { map = limit }

    func windows() throws(LimitsFileError) -> Windows {
        let node = try map.required("per", accepted: Self.accepted)
        var windows = try windows(try words(node), line: node.line)
        try readMissing(&windows)
        try readMaximumValues(&windows)
        return windows
    }

    private func words(_ node: FileNode) throws(LimitsFileError) -> [Word] {
        var nodes = [node]
        if case .list(let elements) = node.content { nodes = elements }
        guard !nodes.isEmpty else {
            throw LimitsFileError(line: node.line, "per of \(map.what) is a list of 0", accepted: Self.accepted)
        }
        var words: [Word] = []
        for node in nodes {
            let word = try map.read(node, "per", accepted: Self.accepted) { Word($0) }
            guard !words.contains(word) else {
                throw LimitsFileError(line: node.line, "per of \(map.what) names \(node.kind) twice")
            }
            words.append(word)
        }
        return words
    }

    private func windows(_ words: [Word], line: Int) throws(LimitsFileError) -> Windows {
        guard words != [.global] else { return Windows(scope: .global) }
        guard !words.contains(.global) else {
            throw LimitsFileError(
                line: line, "per of \(map.what) is global with others",
                accepted: "global alone, and lists without it: what is per label:tenant alone, all share")
        }
        var values = words.compactMap { if case .value(let value) = $0 { value } else { nil } }
        var scope = LimitScope.global
        if words.contains(.user) {
            scope = .user
        } else if values.contains(.group) {
            // The group's own key has its windows, and so it is no value beside.
            scope = .group
            values.removeAll { $0 == .group }
        }
        guard values.count <= CallValue.maximumCount else {
            throw LimitsFileError(
                line: line, "per of \(map.what) names \(values.count) values",
                accepted: "up to \(CallValue.maximumCount) beside user, or beside group where user is not among them")
        }
        return Windows(scope: scope, values: values)
    }

    private func readMissing(_ windows: inout Windows) throws(LimitsFileError) {
        windows.missing = try map.word("missing", standard: .ignore)
        guard let node = try map.value("missing"), !windows.values.contains(where: \.isSaid) else { return }
        throw LimitsFileError(
            line: node.line,
            "\(map.what) has missing, and its per names no model, provider or label that a call may leave out; remove it"
        )
    }

    private func readMaximumValues(_ windows: inout Windows) throws(LimitsFileError) {
        guard let node = try map.value("max_values") else { return }
        let range = LimitDefinition.valueCounts
        windows.maximumValues = try map.read(
            node, "max_values", accepted: "whole numbers from \(range.lowerBound) to \(grouped(range.upperBound))"
        ) { ValueText.wholeNumber($0, in: range) }
        guard windows.values.isEmpty || windows.scope == .global else { return }
        throw LimitsFileError(
            line: node.line, "\(map.what) has max_values, and its per names no user or group beside a value; remove it")
    }
}
