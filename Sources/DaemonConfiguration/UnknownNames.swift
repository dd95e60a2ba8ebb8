/// Variables that begin as the daemon's do and are none of its options: one line for all of them. Of those that begin as
/// OpenTelemetry's do, only a file's are: in an environment they may be for any program.
struct UnknownNames {
    private var texts: [String] = []
    private var count = 0

    /// How many are named; a file of another kind would make a line without end.
    static let maximumShown = 8

    /// Notes the unknown ones among the variables of a file, or of the environment where `path` is nil.
    mutating func note(_ variables: [String: String], in path: String?) {
        let place = path.map { " in \(printable($0))" } ?? ""
        for (name, value) in variables.sorted(by: { $0.key < $1.key }) {
            let isOwn = name.uppercased().hasPrefix(OptionName.variablePrefix)
            guard isOwn || path != nil && name.hasPrefix(OptionName.sharedPrefix), OptionName(variable: name) == nil,
                path != nil || !isKubernetesVariable(name, value: value)
            else { continue }
            count += 1
            guard count <= Self.maximumShown else { continue }
            let guess = nearestVariable(to: name).map { " (did you mean \($0)?)" } ?? ""
            texts.append("\(printable(name))\(place)\(guess)")
        }
    }

    /// The line; nil where there are none.
    var warning: String? {
        guard count > 0 else { return nil }
        let rest = count > texts.count ? ", and \(count - texts.count) more" : ""
        return "unknown variables are ignored: " + texts.joined(separator: ", ") + rest
    }
}

/// Whether a variable is one that Kubernetes puts into every pod for a service named `llm-rate-limit`, or
/// `llm-rate-limit-redis`: `…_SERVICE_HOST`, `…_SERVICE_PORT_HTTP`, `…_PORT_80_TCP_ADDR` and so on.
///
/// The daemon reads none of these names. `…_PORT` alone is also what a person may write; Kubernetes gives it a URL.
func isKubernetesVariable(_ name: String, value: String) -> Bool {
    let words = name.split(separator: "_", omittingEmptySubsequences: false).map(String.init)
    if words.suffix(2) == ["SERVICE", "HOST"] { return true }
    if zip(words, words.dropFirst()).contains(where: { $0 == ("SERVICE", "PORT") }) { return true }
    if words.last == "PORT", ["tcp://", "udp://", "sctp://"].contains(where: value.hasPrefix) { return true }
    let port = ["PROTO", "PORT", "ADDR"].contains(words.last) ? words.dropLast().suffix(3) : words.suffix(3)
    return port.first == "PORT" && ["TCP", "UDP", "SCTP"].contains(port.last)
        && port.dropFirst().first.map { decimalNumber($0[...], in: 1...65_535) != nil } == true
}
