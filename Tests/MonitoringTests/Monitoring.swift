import Foundation
import TestSupport
import Testing

/// Where this project is.
let project = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

/// Where `scripts/setup-monitoring` keeps Prometheus and the programs beside it.
let programs = "\(project)/.build/monitoring"

extension Trait where Self == ConditionTrait {
    /// Runs where Prometheus is there. `scripts/test` says at its end what was not run: a machine may reach no registry.
    static var needsPrometheus: Self {
        // The list of packages is written last.
        .enabled(
            if: FileManager.default.fileExists(atPath: "\(programs)/packages"),
            "not run: scripts/setup-monitoring could not unpack Prometheus")
    }
}

/// A file of `deploy/monitoring`.
func deployed(_ name: String) throws -> String {
    let text = readFile("\(project)/deploy/monitoring/\(name)")
    guard !text.isEmpty else { throw TestFailure("there is no deploy/monitoring/\(name)") }
    return text
}

/// Runs a program of Prometheus's to its end.
func run(_ program: String, _ arguments: [String], seconds: Double = 120) throws -> (code: Int32, output: String) {
    let process = try ChildProcess("\(programs)/\(program)", arguments)
    let code = try process.wait(seconds: seconds)
    return (code, process.output + process.errors)
}

/// The first groups of all matches of an expression, a line at a time.
func matches(of pattern: String, in text: String) -> [String] {
    guard let expression = try? NSRegularExpression(pattern: pattern, options: .anchorsMatchLines) else {
        preconditionFailure("\(pattern) is no expression")
    }
    return expression.matches(in: text, range: NSRange(text.startIndex..., in: text)).compactMap { match in
        Range(match.range(at: 1), in: text).map { String(text[$0]) }
    }
}

/// The metrics of the daemon that an expression of Prometheus's asks for, without what histograms put behind their names.
/// What a recording rule makes has a colon before it and is none.
func metrics(in expression: String) -> Set<String> {
    let names = matches(of: "(?<![:\\w])((?:llm_rate_limit|process)_[a-z0-9_]+)", in: expression)
    return Set(names.map { $0.replacing(/_(bucket|sum|count)$/, with: "") })
}
