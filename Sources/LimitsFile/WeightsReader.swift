import RateLimitCore

/// Reads how much tokens weigh in a limit of tokens: `weights: {cache_read: 0.1}`.
struct WeightsReader {
    private let map: MapReader
    private let unit: LimitUnit

    private static let kinds: [TokenKind] = [.input, .output, .cacheRead, .cacheWrite]
    private static let keys = kinds.map(\.rawValue) + TokenPart.allCases.map(\.rawValue)
    private static let accepted = "numbers from 0 to 1000 with up to three places, such as 0.1, 1 and 2.5"

    init(_ limit: MapReader, unit: LimitUnit) {
        map = limit
        self.unit = unit
    }

    func weights() throws(LimitsFileError) -> TokenWeights? {
        guard let node = try map.value("weights") else { return nil }
        guard let counted = unit.tokenKind else {
            throw LimitsFileError(
                line: node.line, "\(map.what) has weights, and counts \(unit.text), which are no tokens; remove them")
        }
        let reader = try MapReader(node, what: "weights of \(map.what)", keys: Self.keys)
        var kinds: [TokenKind: Int] = [:]
        var parts: [TokenPart: Int] = [:]
        for key in Self.keys {
            guard let value = try reader.value(key) else { continue }
            let weight = try reader.read(value, key, accepted: Self.accepted) {
                ValueText.perMille($0, in: TokenWeights.weights)
            }
            let part = TokenPart(rawValue: key)
            guard let kind = part?.kind ?? TokenKind(rawValue: key) else { continue }
            guard counted == .total || counted == kind else {
                throw LimitsFileError(
                    line: value.line,
                    "weights of \(map.what) names \(key), and the limit counts \(unit.text) alone; remove it")
            }
            if let part { parts[part] = weight } else { kinds[kind] = weight }
        }
        guard let weights = TokenWeights(kinds, parts: parts) else { preconditionFailure("each is in bounds") }
        let all = (counted == .total ? Self.kinds : [counted]).map { kinds[$0] ?? TokenWeights.usual }
        guard (all + parts.values).contains(where: { $0 > 0 }) else {
            throw LimitsFileError(
                line: node.line, "weights of \(map.what) let no token count, so that it would never deny; remove it")
        }
        return weights.told.isEmpty ? nil : weights
    }
}
