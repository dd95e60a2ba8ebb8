import LimitsFile
import RateLimitCore

/// What the limits file of the second settings says otherwise than that of the first, one text for each limit that came,
/// went or changed: `limit team: quota 1000 -> 500, window calendar month -> calendar day`.
///
/// What holds for all limits comes behind them, and prices come last. Of limits and prices as many are named as a line of
/// the log holds, the others are counted.
func limitsChanges(from old: Settings, to new: Settings) -> [String] {
    let (old, new) = (old.limitsFile?.content ?? .none, new.limitsFile?.content ?? .none)
    guard old != new else { return [] }
    let (oldLimits, newLimits) = (old.limits.limits, new.limits.limits)
    let limits = changes(from: oldLimits.map(FilePart.init), to: newLimits.map(FilePart.init))
    let others = changes(from: [FilePart(old)], to: [FilePart(new)])
    let prices = changes(from: old.prices.entries.map(FilePart.init), to: new.prices.entries.map(FilePart.init))
    let all = cut(limits, to: 16, "limits") + others + cut(prices, to: 8, "prices")
    guard all.isEmpty else { return all }
    // Nothing that is written as a text differs, as where a zone's rules are others than before.
    return [Set(oldLimits) == Set(newLimits) ? "the order in the limits file" : "what the limits file refers to"]
}

private func cut(_ texts: [String], to count: Int, _ what: String) -> [String] {
    texts.count <= count ? texts : texts.prefix(count) + ["\(texts.count - count) more \(what)"]
}

private func changes(from old: [FilePart], to new: [FilePart]) -> [String] {
    let former = Dictionary(old.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let names = Set(new.map(\.name))
    var texts = old.filter { !names.contains($0.name) }.map { "\($0.name): removed" }
    for part in new {
        guard let former = former[part.name] else {
            let said = part.traits.filter { !$0.isUsual }.map { "\($0.name) \($0.text)" }
            texts.append("\(part.name): added, \(said.joined(separator: ", "))")
            continue
        }
        let changed = zip(former.traits, part.traits).filter { $0.text != $1.text }
        guard !changed.isEmpty else { continue }
        texts.append("\(part.name): " + changed.map { "\($1.name) \($0.text) -> \($1.text)" }.joined(separator: ", "))
    }
    return texts
}

/// A limit, a price or the rest of a limits file, as texts that can be compared.
private struct FilePart {
    var name: String
    /// Always the same names in the same order, for parts of one kind.
    var traits: [Trait]

    struct Trait {
        var name: String
        var text: String
        /// Whether it is what holds where the file does not say it: of something new it is not told.
        var isUsual = false
    }

    init(_ limit: LimitDefinition) {
        name = "limit \(limit.name)"
        let matches = limit.matches.map { match in
            "\(match.key.text)=" + match.alternatives.map(\.text).joined(separator: "|")
        }
        let weights = limit.weights?.told.map { "\($0.name)=\(shareText(perMille: $0.perMille))" } ?? []
        let warnings = limit.warnAtPerMille.map { "\(Double($0) / 1000)" }
        traits = [
            Trait(name: "per", text: printable(limit.perText)),
            Trait(name: "missing", text: limit.missing.rawValue, isUsual: limit.missing == .ignore),
            Trait(
                name: "max_values", text: "\(limit.maximumValues ?? LimitDefinition.usualMaximumValues)",
                isUsual: [nil, LimitDefinition.usualMaximumValues].contains(limit.maximumValues)),
            Trait(name: "unit", text: limit.unit.text),
            Trait(name: "weights", text: Self.listed(weights), isUsual: weights.isEmpty),
            Trait(name: "quota", text: limit.text(of: limit.quota, orNone: "unlimited")),
            Trait(
                name: "quota_from_call", text: limit.maximumCallQuota.map { "max \($0)" } ?? "none",
                isUsual: limit.maximumCallQuota == nil),
            Trait(name: "window", text: limit.window?.text ?? "none", isUsual: limit.window == nil),
            Trait(name: "match", text: Self.listed(matches), isUsual: matches.isEmpty),
            Trait(name: "mode", text: limit.mode.rawValue, isUsual: limit.denies),
            Trait(
                name: "soft_quota", text: limit.text(of: limit.softQuota, orNone: "none"),
                isUsual: limit.softQuota == nil),
            Trait(
                name: "on_redis_failure", text: limit.failureMode.rawValue, isUsual: limit.failureMode == .open),
            Trait(name: "warn_at", text: Self.listed(warnings), isUsual: warnings.isEmpty),
        ]
    }

    init(_ entry: PriceTable.Entry) {
        name = "price of \(printable(entry.pattern.text))"
        let price = entry.price
        let tiers = price.tiers.map { tier in
            let rates = Self.traits(of: tier.rates).filter { !$0.isUsual }.map { "\($0.name) \($0.text)" }
            return "above \(tier.above): \(rates.joined(separator: " "))"
        }
        traits =
            Self.traits(of: price.rates) + [
                Trait(name: "per_request", text: "\(price.perRequest)", isUsual: price.perRequest == 0),
                Trait(name: "tiers", text: Self.listed(tiers), isUsual: tiers.isEmpty),
            ]
    }

    private static func traits(of rates: TokenRates) -> [Trait] {
        let ofParts = TokenPart.allCases.map { part in
            let isUsual = rates.parts[part] == (part.kind == .input ? rates.input : rates.output)
            return Trait(
                name: part.rawValue, text: isUsual ? part.kind.rawValue : "\(rates.parts[part])", isUsual: isUsual)
        }
        return [
            Trait(name: "input", text: "\(rates.input)"), Trait(name: "output", text: "\(rates.output)"),
            Trait(name: "cache_read", text: "\(rates.cacheRead)", isUsual: rates.cacheRead == rates.input),
            Trait(name: "cache_write", text: "\(rates.cacheWrite)", isUsual: rates.cacheWrite == rates.input),
        ] + ofParts
    }

    init(_ content: LimitsFileContent) {
        name = "limits file"
        let unknownModel =
            switch content.prices.unknownModel {
            case .deny: "deny"
            case .free: "free"
            case .priceOf(let model): "price-of \(printable(model))"
            }
        traits = [
            Trait(name: "group_policy", text: content.groupPolicy.rawValue),
            Trait(name: "unknown_model", text: unknownModel),
            Trait(name: "lease ttl", text: lengthText(milliseconds: content.leaseMilliseconds)),
            Trait(name: "lease max_ttl", text: lengthText(milliseconds: content.longestLeaseMilliseconds)),
            Trait(name: "lease remember", text: lengthText(milliseconds: content.rememberMilliseconds)),
        ]
    }

    private static func listed(_ texts: [String]) -> String {
        texts.isEmpty ? "none" : printable(texts.joined(separator: " "), maximumCharacters: 200)
    }
}

extension LimitDefinition {
    fileprivate func text(of quota: Int?, orNone none: String) -> String {
        guard let quota else { return none }
        guard unit == .spend else { return "\(quota)" }
        var cents = String(quota % 1_000_000 + 1_000_000).dropFirst()
        while cents.count > 2, cents.hasSuffix("0") { cents = cents.dropLast() }
        return "$\(quota / 1_000_000).\(cents)"
    }
}

extension LimitWindow {
    fileprivate var text: String {
        switch self {
        case .sliding(let milliseconds): lengthText(milliseconds: milliseconds)
        case .calendar(let kind, let zone, let starts):
            "calendar \(kind.rawValue)" + (starts == .first ? "" : " from \(starts.text)")
                + (zone == .utc ? "" : " \(zone.name)")
        case .lifetime(let idleMilliseconds): "lifetime, idle \(lengthText(milliseconds: idleMilliseconds))"
        }
    }
}

extension LabelMatch.Key {
    fileprivate var text: String {
        switch self {
        case .model: "model"
        case .provider: "provider"
        case .label(let name): name
        }
    }
}

extension LabelMatch.Pattern {
    fileprivate var text: String {
        switch self {
        case .exact(let text): text
        case .prefix(let text): "\(text)*"
        }
    }
}

/// A length as limits files write it: in the largest unit of which it is a whole number.
private func lengthText(milliseconds: Int) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
    guard let (unit, length) = units.first(where: { milliseconds % $0.1 == 0 }) else { return "\(milliseconds)ms" }
    return "\(milliseconds / length)\(unit)"
}
