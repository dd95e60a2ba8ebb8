import Foundation
import TestSupport

/// A Prometheus of one test's own, which scrapes daemons by the example's configuration, only more often.
final class PrometheusServer {
    private let process: ChildProcess
    private let port: UInt16
    private let folder: TemporaryFolder

    /// Starts it and waits until it answers.
    ///
    /// - Parameters:
    ///   - targets: ports of 127.0.0.1.
    ///   - alertmanager: its port, where there is one.
    ///   - rules: what to write otherwise in the alert rules, such as a shorter `for`.
    init(targets: [UInt16], alertmanager: UInt16? = nil, rules: (String) -> String = { $0 }) throws {
        folder = try TemporaryFolder()
        port = try freePort()
        try folder.write(rules(try deployed("rules.yaml")), to: "rules.yaml")
        var configuration = try deployed("prometheus.yaml")
        let changes = [
            ("scrape_interval: 15s", "scrape_interval: 250ms"),
            ("evaluation_interval: 15s", "evaluation_interval: 500ms"),
            (#"["127.0.0.1:8089"]"#, "[\(targets.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ", "))]"),
            (#"["127.0.0.1:9093"]"#, "[\(alertmanager.map { "\"127.0.0.1:\($0)\"" } ?? "")]"),
        ]
        for (old, new) in changes {
            guard configuration.contains(old) else { throw TestFailure("prometheus.yaml has no \(old)") }
            configuration = configuration.replacing(old, with: new)
        }
        process = try ChildProcess(
            "\(programs)/prometheus",
            [
                "--config.file=\(try folder.write(configuration, to: "prometheus.yaml"))",
                "--storage.tsdb.path=\(folder.file("data"))", "--web.listen-address=127.0.0.1:\(port)",
            ])
        guard eventually(within: 60, { (try? get("/-/ready")) != nil }) else {
            throw TestFailure("Prometheus is not ready: \(process.errors.suffix(2_000))")
        }
    }

    /// One value of an answer, with its labels.
    struct Sample {
        var labels: [String: String]
        var value: Double
    }

    /// What an expression gives now.
    func query(_ expression: String) throws -> [Sample] {
        let escaped = expression.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        let data = try json("/api/v1/query?query=\(escaped)")["data"] as? [String: Any]
        let results = data?["result"] as? [[String: Any]] ?? []
        return results.compactMap { result in
            let pair = result["value"] as? [Any]
            guard let text = pair?.last as? String, let value = Double(text) else { return nil }
            return Sample(labels: result["metric"] as? [String: String] ?? [:], value: value)
        }
    }

    /// A rule as Prometheus has it.
    struct Rule {
        var name: String
        var isAlert: Bool
        var expression: String
        var health: String
        var error: String
        /// The annotations of the alerts that are pending or firing now.
        var texts: [String]
    }

    /// Every rule that it has loaded.
    func rules() throws -> [Rule] {
        let data = try json("/api/v1/rules")["data"] as? [String: Any]
        let groups = data?["groups"] as? [[String: Any]] ?? []
        return groups.flatMap { $0["rules"] as? [[String: Any]] ?? [] }.map { rule in
            func text(_ name: String) -> String { rule[name] as? String ?? "" }
            return Rule(
                name: text("name"), isAlert: text("type") == "alerting", expression: text("query"),
                health: text("health"), error: text("lastError"),
                texts: (rule["alerts"] as? [[String: Any]] ?? []).flatMap { alert in
                    (alert["annotations"] as? [String: String] ?? [:]).values
                })
        }
    }

    private func json(_ target: String) throws -> [String: Any] {
        let body = try get(target)
        guard let object = try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any],
            object["status"] as? String == "success"
        else { throw TestFailure("\(target): \(String(decoding: body, as: UTF8.self))") }
        return object
    }

    /// An answer's body: by HTTP/1.0, in which nothing comes in chunks.
    private func get(_ target: String) throws -> [UInt8] {
        let socket = try StreamSocket(.tcp(port))
        try socket.send("GET \(target) HTTP/1.0\r\n\r\n".utf8)
        var answer: [UInt8] = []
        while true {
            guard let part = try socket.receive() else { throw TestFailure("\(target): no answer in time") }
            guard !part.isEmpty else { break }
            answer += part
        }
        guard let end = answer.firstRange(of: Array("\r\n\r\n".utf8)) else { throw TestFailure("\(target): no answer") }
        let status = String(decoding: answer.prefix { $0 != 0x0d }, as: UTF8.self)
        guard status.contains(" 200 ") || status.contains(" 4") && target.hasPrefix("/api") else {
            throw TestFailure("\(target): \(status)")
        }
        return Array(answer[end.upperBound...])
    }
}
