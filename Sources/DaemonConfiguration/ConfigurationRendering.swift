extension ResolvedConfiguration {
    /// The body of `GET /v1/config` and of `config --json`: one object with the array `options`, and in a daemon with the
    /// array `readings`.
    ///
    /// Secrets are masked. An option that is off has the value `""`.
    public func json(readings: ReadingRecords? = nil) -> String {
        let objects = entries.map { entry in
            let definition = entry.definition
            let members = [
                ("name", quoted(entry.option.variable)),
                ("flag", quoted(entry.option.flag)),
                ("value", quoted(entry.value)),
                ("default", quoted(definition.defaultText)),
                ("source", quoted("\(entry.source)")),
                ("description", quoted(definition.summary)),
                ("accepted", quoted(definition.accepted)),
                ("reloadable", definition.isReloadable ? "true" : "false"),
            ]
            return "{" + members.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
        }
        let last = readings.map { ",\"readings\":\($0.json())" } ?? ""
        return "{\"options\":[" + objects.joined(separator: ",") + "]\(last)}"
    }

    /// The table of `llm-rate-limit config`, at most 80 columns wide, with a line end behind each line.
    public func table() -> String {
        var lines: [String] = []
        for section in OptionSection.allCases {
            // The standard's names are much longer than the daemon's own.
            let names = OptionName.allCases.filter { $0.isShared == (section == .tracing) }
            let width = names.map(\.shortName.count).max() ?? 0
            lines.append(lines.isEmpty ? section.rawValue : "\n\(section.rawValue)")
            for entry in entries where entry.definition.section == section {
                let mark = entry.definition.isReloadable ? "*" : " "
                let start =
                    " \(mark) \(padded(entry.option.shortName, to: width))  \(padded(entry.source.kind, to: 11))  "
                let value = entry.value.isEmpty ? "-" : entry.value
                lines += folded(value, after: start)
            }
        }
        lines.append("\n* takes effect on reload (SIGHUP); the others on restart.")
        lines.append("Each name is a variable behind \(OptionName.variablePrefix) and a flag of serve;")
        lines.append("those of OpenTelemetry are variables as they stand.")
        if let file = settings.envFile { lines += folded(printable(file), after: "File: ") }
        return lines.map { "\($0)\n" }.joined()
    }
}

private func padded(_ text: String, to width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}

/// A text behind its line's start; what passes column 80 goes on below itself.
private func folded(_ text: String, after start: String) -> [String] {
    let room = 80 - start.count
    var lines: [String] = []
    var rest = text[...]
    repeat {
        let indent = lines.isEmpty ? start : String(repeating: " ", count: start.count)
        lines.append(indent + rest.prefix(room))
        rest = rest.dropFirst(room)
    } while !rest.isEmpty
    return lines
}

/// A JSON string (RFC 8259) with its quotation marks.
func quoted(_ text: String) -> String {
    var json = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": json += "\\\""
        case "\\": json += "\\\\"
        case "\u{0}"..."\u{1F}":
            let digits = String(scalar.value, radix: 16)
            json += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: json.unicodeScalars.append(scalar)
        }
    }
    return json + "\""
}
