import RateLimitCore

/// Reads what stands under `prices:`.
enum PricesSection {
    /// No prices at all: what a model costs is unknown.
    static let standard: PriceTable = {
        guard let table = try? PriceTable([], unknownModel: .deny) else { preconditionFailure("no lines make a table") }
        return table
    }()

    private static let unknownModels = "deny, free and {price-of: NAME}, NAME being a model with a price"

    static func prices(_ node: FileNode) throws(LimitsFileError) -> PriceTable {
        let map = try MapReader(node, what: "prices", keys: ["unknown_model", "models"])
        let unknownNode = try map.value("unknown_model")
        let unknown = try unknownNode.map { node throws(LimitsFileError) in try unknownModel(node, in: map) } ?? .deny
        let modelsNode = try map.value("models")
        let models =
            try modelsNode.map { node throws(LimitsFileError) in
                try MapReader.entries(of: node, what: "models of prices").filter { $0.value.content != .null }
            } ?? []
        guard models.count <= PriceTable.maximumEntries else {
            throw LimitsFileError(
                line: models[PriceTable.maximumEntries].line,
                "models of prices has more than \(grouped(PriceTable.maximumEntries)) entries")
        }
        var entries: [PriceTable.Entry] = []
        for model in models { entries.append(try entry(model)) }
        do {
            return try PriceTable(entries, unknownModel: unknown)
        } catch {
            switch error {
            case .unknownReference:
                throw LimitsFileError(
                    line: unknownNode?.line ?? node.line, "unknown_model refers to a model that has no price itself",
                    accepted: unknownModels)
            case .samePattern(let earlier, let later):
                throw LimitsFileError(
                    line: models[later].line, "this price stands already in line \(models[earlier].line)")
            case .tooMany:
                throw LimitsFileError(line: node.line, "there are too many prices")
            }
        }
    }

    private static func unknownModel(
        _ node: FileNode, in map: MapReader
    ) throws(LimitsFileError) -> PriceTable.UnknownModel {
        if case .map = node.content {
            let reference = try MapReader(node, what: "unknown_model of prices", keys: ["price-of"])
            let name = try reference.required("price-of", accepted: "names of models")
            return try reference.read(name, "price-of", accepted: "names of models") { .priceOf($0) }
        }
        return try map.read(node, "unknown_model", accepted: unknownModels) { text in
            switch text {
            case "deny": .deny
            case "free": .free
            default: text.text(behind: "price-of ").map { .priceOf($0) }
            }
        }
    }

    private static func entry(_ entry: FileNode.Entry) throws(LimitsFileError) -> PriceTable.Entry {
        let what = "the price of \(shown(entry.key))"
        guard !entry.key.isEmpty, let pattern = namePattern(entry.key) else {
            throw LimitsFileError(
                line: entry.line, "models of prices has the key \(shown(entry.key))",
                accepted: "names of models, a * only at their end for what begins so")
        }
        let map = try MapReader(entry.value, what: what, keys: kinds + ["per_request", "tiers"])
        let base = try rates(in: map, line: entry.line)
        let perRequest = try map.value("per_request").map { node throws(LimitsFileError) in
            try map.read(node, "per_request", accepted: ValueText.money) { ValueText.micros($0, in: ModelPrice.spends) }
        }
        let tiers = try tiers(in: map, of: base)
        guard let price = ModelPrice(base.rates, perRequest: perRequest ?? 0, tiers: tiers) else {
            throw LimitsFileError(line: entry.line, "\(what) is out of bounds", accepted: accepted)
        }
        return PriceTable.Entry(pattern, price)
    }

    private static let kinds = ["input", "output", "cache_read", "cache_write"] + TokenPart.allCases.map(\.rawValue)

    /// Reads the prices of tokens, and says which of them are told.
    private static func rates(
        in map: MapReader, line: Int
    ) throws(LimitsFileError) -> (rates: TokenRates, told: [String]) {
        var told: [String: Int] = [:]
        for kind in kinds { told[kind] = try price(kind, in: map) }
        guard let input = told["input"], let output = told["output"] else {
            throw LimitsFileError(
                line: line, "\(map.what) has no \(told["input"] == nil ? "input" : "output")", accepted: accepted)
        }
        var parts: [TokenPart: Int] = [:]
        for part in TokenPart.allCases { parts[part] = told[part.rawValue] }
        let rates = TokenRates(
            input: input, output: output, cacheRead: told["cache_read"], cacheWrite: told["cache_write"], parts: parts)
        return (rates, kinds.filter { told[$0] != nil })
    }

    /// Reads the prices of long inputs. What a model prices by itself a tier has to price too: nothing is guessed.
    private static func tiers(
        in model: MapReader, of base: (rates: TokenRates, told: [String])
    ) throws(LimitsFileError) -> [ModelPrice.Tier] {
        guard let node = try model.value("tiers") else { return [] }
        let most = ModelPrice.maximumTiers
        guard case .list(let nodes) = node.content, 1...most ~= nodes.count else {
            throw LimitsFileError(
                line: node.line, "tiers of \(model.what) is no list of 1 to \(most)",
                accepted: "lists such as [{above: 200000, input: $6, output: $22.50}]")
        }
        let starts = "whole numbers of input tokens from 1 to \(grouped(ModelPrice.tierStarts.upperBound))"
        var tiers: [ModelPrice.Tier] = []
        for (place, node) in nodes.enumerated() {
            let map = try MapReader(node, what: "tier \(place + 1) of \(model.what)", keys: ["above"] + kinds)
            let start = try map.required("above", accepted: starts)
            let above = try map.read(start, "above", accepted: starts) {
                ValueText.wholeNumber($0, in: ModelPrice.tierStarts)
            }
            if let earlier = tiers.last, above <= earlier.above {
                throw LimitsFileError(
                    line: start.line, "above of \(map.what) is not above that of the tier before it, \(earlier.above)")
            }
            let own = try rates(in: map, line: node.line)
            if let missing = base.told.first(where: { !own.told.contains($0) }) {
                throw LimitsFileError(
                    line: node.line, "\(map.what) has no \(missing), which the model prices by itself; give it here too"
                )
            }
            tiers.append(ModelPrice.Tier(above: above, own.rates))
        }
        return tiers
    }

    private static let accepted = "\(ValueText.money), for a million tokens"

    private static func price(_ key: String, in map: MapReader) throws(LimitsFileError) -> Int? {
        guard let node = try map.value(key) else { return nil }
        return try map.read(node, key, accepted: accepted) { ValueText.micros($0, in: ModelPrice.prices) }
    }
}
