/// Prices by model: by whole names, and by what names begin with, of which the longest counts.
public struct PriceTable: Hashable, Sendable {
    /// One line of the table.
    public struct Entry: Hashable, Sendable {
        /// Which models it is for; names are compared byte for byte.
        public let pattern: LabelMatch.Pattern
        /// What they cost.
        public let price: ModelPrice

        /// Makes a line.
        public init(_ pattern: LabelMatch.Pattern, _ price: ModelPrice) {
            self.pattern = pattern
            self.price = price
        }
    }

    /// What becomes of a model the table does not know, or of a call that names none.
    public enum UnknownModel: Hashable, Sendable {
        /// Its calls are denied.
        case deny
        /// Its tokens cost nothing.
        case free
        /// It costs what this model does.
        case priceOf(String)
    }

    /// The lines, in the order given.
    public let entries: [Entry]
    /// What becomes of a model that no line is for.
    public let unknownModel: UnknownModel

    private let exact: [String: ModelPrice]
    /// The longest first.
    private let prefixes: [(text: String, price: ModelPrice)]
    private let unknownPrice: ModelPrice?

    /// How many lines a table may have.
    public static let maximumEntries = 4096

    /// A table without a price, under which tokens cost nothing.
    public static let free = PriceTable(checked: [], unknownModel: .free, unknownPrice: .free)

    /// Makes a table.
    public init(_ entries: [Entry], unknownModel: UnknownModel) throws(PriceTableError) {
        guard entries.count <= Self.maximumEntries else { throw .tooMany }
        var seen: [LabelMatch.Pattern: Int] = [:]
        for (index, entry) in entries.enumerated() {
            if let earlier = seen.updateValue(index, forKey: entry.pattern) { throw .samePattern(earlier, index) }
        }
        var table = PriceTable(checked: entries, unknownModel: unknownModel, unknownPrice: nil)
        switch unknownModel {
        case .deny: break
        case .free: table = PriceTable(checked: entries, unknownModel: unknownModel, unknownPrice: .free)
        case .priceOf(let model):
            guard let price = table.knownPrice(ofModel: model) else { throw .unknownReference }
            table = PriceTable(checked: entries, unknownModel: unknownModel, unknownPrice: price)
        }
        self = table
    }

    private init(checked entries: [Entry], unknownModel: UnknownModel, unknownPrice: ModelPrice?) {
        self.entries = entries
        self.unknownModel = unknownModel
        self.unknownPrice = unknownPrice
        var exact: [String: ModelPrice] = [:]
        var prefixes: [(text: String, price: ModelPrice)] = []
        for entry in entries {
            switch entry.pattern {
            case .exact(let model): exact[model] = entry.price
            case .prefix(let text): prefixes.append((text, entry.price))
            }
        }
        self.exact = exact
        self.prefixes = prefixes.sorted { $0.text.utf8.count > $1.text.utf8.count }
    }

    /// What a model costs; nil where its calls are denied, because no line is for it.
    public func price(ofModel model: String?) -> ModelPrice? {
        model.flatMap(knownPrice) ?? unknownPrice
    }

    /// What a usage of a model costs in micro-dollars, rounded up once, in ``ModelPrice/spends``; nil where its calls
    /// are denied, because no line is for it.
    public func spend(of usage: TokenUsage, model: String?) -> Int? {
        price(ofModel: model)?.spend(of: usage)
    }

    private func knownPrice(ofModel model: String) -> ModelPrice? {
        exact[model] ?? prefixes.first { model.utf8.starts(with: $0.text.utf8) }?.price
    }

    /// Whether both have the same lines and the same answer for unknown models.
    public static func == (one: PriceTable, other: PriceTable) -> Bool {
        one.entries == other.entries && one.unknownModel == other.unknownModel
    }

    /// Hashes what ``==(_:_:)`` compares.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(entries)
        hasher.combine(unknownModel)
    }
}

/// Why lines make no table; the numbers are places in what was given, from 0.
public enum PriceTableError: Error, Hashable, Sendable {
    /// There are more than ``PriceTable/maximumEntries``.
    case tooMany
    /// Two are for the same names.
    case samePattern(Int, Int)
    /// The model whose price unknown ones are to have is itself unknown.
    case unknownReference
}
