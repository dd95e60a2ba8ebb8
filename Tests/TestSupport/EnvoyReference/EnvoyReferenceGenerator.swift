/// Makes up one case: a small file over few keys and values, so that its rules meet, and requests out of it.
struct EnvoyReferenceGenerator {
    private let number: Int
    private var random: SeededGenerator
    /// The ways to the file's descriptors, by key and value.
    private var ways: [[(key: String, value: String)]] = []

    private static let keys = ["tenant", "path", "plan", "tenant_id"]
    private static let values = ["a", "ab", "abc", "b", "bb", "a_b", "acme", "x.y/z"]
    private static let patterns = ["a*", "*b", "a*c", "*", "*b*", "a*b*", "x*z", "b*b"]
    private static let units = ["minute", "hour", "DAY", "Week", "month", "year"]

    init(number: Int) {
        self.number = number
        random = SeededGenerator(seed: UInt64(number) + 1)
    }

    mutating func makeCase() -> EnvoyReferenceCase {
        let yaml = "domain: case-\(number)\ndescriptors:\n" + descriptors(under: []).joined(separator: "\n") + "\n"
        var model = EnvoyReferenceModel(yaml: yaml)
        var steps: [EnvoyReferenceCase.Step] = []
        // A request that nothing says how to take is left out.
        for _ in 0..<200 where steps.count < 14 {
            let request = request(after: steps)
            if isPlain(request, model.met(request)) {
                var next = model
                let step = next.take(request)
                guard isPlain(step) else { continue }
                model = next
                steps.append(step)
            }
        }
        return EnvoyReferenceCase(number: number, domain: model.domain, yaml: yaml, steps: steps)
    }

    // MARK: - The file

    private mutating func descriptors(under way: [(key: String, value: String)]) -> [String] {
        let level = way.count
        var lines: [String] = []
        var taken: Set<String> = []
        for _ in 0..<Int.random(in: level == 0 ? 3...7 : 1...3, using: &random) {
            let key = one(of: Self.keys)
            let value = chance(3) ? "" : chance(2) ? one(of: Self.values) : one(of: Self.patterns)
            guard taken.insert("\(key) \(value)").inserted else { continue }
            ways.append(way + [(key, value)])
            let indentation = String(repeating: "    ", count: level) + "  "
            lines.append("\(indentation)- key: \(key)")
            lines += descriptor(value).map { "\(indentation)  \($0)" }
            if level < 2, chance(3) {
                lines.append("\(indentation)  descriptors:")
                lines += descriptors(under: way + [(key, value)])
            }
        }
        return lines
    }

    private mutating func descriptor(_ value: String) -> [String] {
        var lines: [String] = []
        if !value.isEmpty { lines.append("value: \"\(value)\"") }
        if value.contains("*"), chance(3) { lines.append("share_threshold: true") }
        if chance(8) { lines.append("value_to_metric: true") }
        if chance(8) { lines.append("detailed_metric: true") }
        if chance(8) {
            lines.append("shadow_mode: true")
        } else if chance(number.isMultiple(of: 3) ? 2 : 8) {
            lines.append("quota_mode: true")
        }
        guard !chance(7) else { return lines }
        lines.append("rate_limit:")
        if chance(10) {
            lines.append("  unlimited: true")
        } else {
            lines.append("  unit: \(one(of: Self.units))")
            if chance(6) { lines.append("  unit_multiplier: 1") }
            lines.append("  requests_per_unit: \(chance(8) ? 0 : Int.random(in: 1...6, using: &random))")
        }
        guard chance(2) else { return lines }
        let name = one(of: ["n1", "n2", "n3"])
        lines.append("  name: \(name)")
        if chance(3) {
            lines.append("  replaces:")
            lines.append("    - name: \(one(of: ["n1", "n2", "n3"].filter { $0 != name }))")
        }
        return lines
    }

    // MARK: - Requests

    private mutating func request(after steps: [EnvoyReferenceCase.Step]) -> EnvoyReferenceCase.Request {
        // Half of them come again, so that windows fill.
        if let earlier = steps.randomElement(using: &random), chance(2) { return earlier.request }
        let descriptors = (0..<Int.random(in: 1...3, using: &random)).map { _ in descriptor() }
        return EnvoyReferenceCase.Request(
            descriptors: descriptors, hits: chance(4) ? Int.random(in: 0...3, using: &random) : 1)
    }

    private mutating func descriptor() -> EnvoyReferenceCase.Descriptor {
        // Most of them on some way of the file, with values as its are.
        let way =
            chance(4)
            ? (0...Int.random(in: 0...2, using: &random)).map { _ in (one(of: Self.keys), "") }
            : ways.randomElement(using: &random) ?? []
        let entries = way.map { key, value in
            let said = value.isEmpty ? one(of: Self.values) : value.replacing("*", with: chance(2) ? "" : "a")
            return EnvoyReferenceCase.Entry(key: key, value: chance(12) ? "" : said)
        }
        var descriptor = EnvoyReferenceCase.Descriptor(entries: entries)
        if chance(8) {
            descriptor.ownQuota = EnvoyReferenceCase.Quota(
                requestsPerUnit: Int.random(in: 0...4, using: &random), unit: one(of: Self.units).lowercased(),
                multiplier: 1)
        }
        if chance(6) { descriptor.hits = chance(2) ? 0 : Int.random(in: 1...3, using: &random) }
        return descriptor
    }

    /// Whether what is decided here says all of it: no window twice, and where a limit only reports, single hits, so that a
    /// window that it is over in is full.
    private func isPlain(_ request: EnvoyReferenceCase.Request, _ met: [EnvoyReferenceCase.Met?]) -> Bool {
        let windows = met.compactMap { $0?.window }
        let reporting = met.indices.filter { met[$0].map { $0.isShadow || $0.isQuotaMode } ?? false }
        let areSingle = reporting.allSatisfy {
            request.descriptors[$0].hits == 0 || request.descriptors[$0].hits == nil && request.hits <= 1
        }
        return Set(windows).count == windows.count && areSingle && !met.allSatisfy { $0 == nil }
    }

    /// Whether it does not stand open what else is charged where limits deny together.
    private func isPlain(_ step: EnvoyReferenceCase.Step) -> Bool {
        let statuses = step.statuses.filter { $0.met?.quota != nil }
        let deniesAlone = statuses.contains {
            $0.isOver && $0.met?.isQuotaMode == false && $0.met?.isShadow == false
        }
        return !step.isDenied || deniesAlone || statuses.allSatisfy { $0.met?.isQuotaMode == true }
    }

    private mutating func chance(_ outOf: Int) -> Bool { Int.random(in: 0..<outOf, using: &random) == 0 }

    private mutating func one(of texts: [String]) -> String { texts[Int.random(in: 0..<texts.count, using: &random)] }
}
