/// Writes the Prometheus text format 0.0.4.
struct ExpositionText {
    private(set) var bytes: [UInt8]

    init(appendingTo bytes: consuming [UInt8]) {
        self.bytes = bytes
    }

    mutating func append(_ family: MetricFamily) {
        let description = family.description
        append("# HELP \(description.name) ")
        appendEscaped(description.help, quotes: false, to: &bytes)
        append("\n# TYPE \(description.name) \(description.kind.typeName)\n")
        for member in family.members {
            append(member.series, of: description, labels: member.labels)
        }
    }

    private mutating func append(_ series: Series, of description: MetricDescription, labels: LabelSet) {
        switch series {
        case .counter(let counter):
            appendSample(description.name, labels: labels, value: String(counter.value))
        case .floatingCounter(let counter):
            appendSample(description.name, labels: labels, value: text(of: counter.value))
        case .gauge(let gauge):
            appendSample(description.name, labels: labels, value: text(of: gauge.value))
        case .process(let reading):
            guard let value = reading.read() else { return }
            appendSample(description.name, labels: labels, value: value)
        case .histogram(let histogram):
            append(histogram, of: description, labels: labels)
        }
    }

    private mutating func append(_ histogram: HistogramSeries, of description: MetricDescription, labels: LabelSet) {
        let sum = histogram.sum
        let counts = histogram.slotCounts
        var cumulative: UInt64 = 0
        for (slot, count) in counts.enumerated() {
            cumulative += count
            let upper = slot < histogram.bounds.count ? text(of: histogram.bounds[slot], description.kind) : "+Inf"
            appendSample(description.name + "_bucket", labels: labels, upper: upper, value: String(cumulative))
        }
        appendSample(description.name + "_sum", labels: labels, value: text(of: sum, description.kind))
        appendSample(description.name + "_count", labels: labels, value: String(cumulative))
    }

    private mutating func appendSample(_ name: String, labels: LabelSet, upper: String? = nil, value: String) {
        append(name)
        if !labels.text.isEmpty || upper != nil {
            append("{")
            bytes.append(contentsOf: labels.text)
            if let upper {
                append(labels.text.isEmpty ? "le=\"\(upper)\"" : ",le=\"\(upper)\"")
            }
            append("}")
        }
        append(" \(value)\n")
    }

    private mutating func append(_ string: String) {
        bytes.append(contentsOf: string.utf8)
    }
}

/// A histogram's number in the unit that the page shows.
private func text(of value: Int64, _ kind: MetricDescription.Kind) -> String {
    if case .secondsHistogram = kind { secondsText(nanoseconds: value) } else { String(value) }
}

/// A floating-point sample as Prometheus spells it: whole numbers without a fraction, `+Inf`, `-Inf`, `NaN`.
func text(of value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if let whole = Int64(exactly: value) { return String(whole) }
    return value.description
}

/// Nanoseconds as decimal seconds, exactly: 1,500,000 is `0.0015`.
func secondsText(nanoseconds: Int64) -> String {
    let (seconds, rest) = nanoseconds.magnitude.quotientAndRemainder(dividingBy: 1_000_000_000)
    let sign = nanoseconds < 0 ? "-" : ""
    guard rest > 0 else { return "\(sign)\(seconds)" }
    var digits = Array(String(rest).utf8)
    digits.insert(contentsOf: repeatElement(UInt8(ascii: "0"), count: 9 - digits.count), at: 0)
    while digits.last == UInt8(ascii: "0") { digits.removeLast() }
    return "\(sign)\(seconds).\(String(decoding: digits, as: UTF8.self))"
}
