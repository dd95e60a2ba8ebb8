extension LoadReport {
    /// For people: at most 80 columns.
    public var text: String {
        let seconds = decimalText(elapsedNanoseconds, unit: 1_000_000_000, places: 1)
        var lines = [
            target,
            "\(connections) connections, \(pipelineDepth) deep, \(seconds) s",
            "",
            row("checks", tally.count, "\(groupedText(checksPerSecond)) a second"),
            row("allowed", tally.allowed, "200"),
            row("denied", tally.denied, "429"),
            row("degraded", tally.degraded, "200 without Redis"),
            row("other", tally.other, "any other answer"),
            row("lost", lostConnections, "connections that the peer closed"),
            "",
            "latency, µs " + latencies.map { padded($0.name, 11) }.joined(),
            "            " + latencies.map { padded(decimalText($0.value, unit: 1_000, places: 1), 11) }.joined(),
        ]
        if tally.count > 0 {
            lines += ["", "processor time for each check, µs"]
            for use in processors {
                let each = decimalText(use.nanoseconds / UInt64(tally.count), unit: 1_000, places: 2)
                lines.append("  " + use.name + padded(each, 22 - use.name.count))
            }
        }
        return lines.joined(separator: "\n")
    }

    /// For programs: one line of JSON, times in microseconds, processor time in microseconds for each check.
    public var json: String {
        let names = ["allowed", "denied", "degraded", "other"]
        let counts = zip(names, [tally.allowed, tally.denied, tally.degraded, tally.other])
        let latency = latencies.map {
            ("\($0.name.filter { $0 != "." })_us", decimalText($0.value, unit: 1_000, places: 3))
        }
        let each = processors.map { use in
            let nanoseconds = use.nanoseconds / UInt64(max(tally.count, 1))
            return (use.name + "_us_per_check", decimalText(nanoseconds, unit: 1_000, places: 3))
        }
        return object([
            ("target", quoted(target)), ("connections", String(connections)), ("pipeline", String(pipelineDepth)),
            ("seconds", decimalText(elapsedNanoseconds, unit: 1_000_000_000, places: 3)),
            ("checks", String(tally.count)), ("checks_per_second", String(checksPerSecond)),
            ("answers", object(counts.map { ($0, String($1)) })), ("lost_connections", String(lostConnections)),
            ("latency", object(latency)), ("cpu", object(each)),
        ])
    }

    private var latencies: [(name: String, value: UInt64)] {
        [
            ("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("p99.9", latency.p999),
            ("max", latency.maximum),
        ]
    }

    private func row(_ name: String, _ count: Int, _ meaning: String) -> String {
        name + padded(groupedText(count), 24 - name.count) + "   " + meaning
    }
}

/// An integer of small units as a decimal number of the unit, rounded down: (1_234_567, 1_000, 1) is `1234.5`.
///
/// - Parameters:
///   - unit: a power of ten.
///   - places: 0 or more, no more than the unit has zeros.
public func decimalText(_ value: UInt64, unit: UInt64, places: Int) -> String {
    let whole = String(value / unit)
    if places == 0 { return whole }
    let digits = String(unit + value % unit).dropFirst().prefix(places)
    return "\(whole).\(digits)"
}

/// An integer with a comma between thousands.
public func groupedText(_ value: Int) -> String {
    var groups: [String] = []
    var rest = value.magnitude
    while rest >= 1_000 {
        groups.append(String(String(1_000 + rest % 1_000).dropFirst()))
        rest /= 1_000
    }
    groups.append(String(rest))
    return (value < 0 ? "-" : "") + groups.reversed().joined(separator: ",")
}

private func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
}

private func object(_ members: [(name: String, value: String)]) -> String {
    "{" + members.map { quoted($0.name) + ":" + $0.value }.joined(separator: ",") + "}"
}

private func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case _ where scalar.value < 0x20:
            result += "\\u" + String(String(0x10000 + scalar.value, radix: 16).dropFirst())
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
