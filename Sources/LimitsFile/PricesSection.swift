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
        let map = try MapReader(entry.value, what: what, keys: ["input", "output", "cache_read", "cache_write"])
        let input = try price("input", in: map)
        let output = try price("output", in: map)
        guard let input, let output else {
            throw LimitsFileError(
                line: entry.line, "\(what) has no \(input == nil ? "input" : "output")", accepted: accepted)
        }
        let price = ModelPrice(
            input: input, output: output, cacheRead: try price("cache_read", in: map),
            cacheWrite: try price("cache_write", in: map))
        guard let price else { throw LimitsFileError(line: entry.line, "\(what) is out of bounds", accepted: accepted) }
        return PriceTable.Entry(pattern, price)
    }

    private static let accepted = "\(ValueText.money), for a million tokens"

    private static func price(_ key: String, in map: MapReader) throws(LimitsFileError) -> Int? {
        guard let node = try map.value(key) else { return nil }
        return try map.read(node, key, accepted: accepted) { ValueText.micros($0, in: ModelPrice.prices) }
    }
}
