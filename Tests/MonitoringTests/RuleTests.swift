import Foundation
import TestSupport
import Testing

@Suite("The alert rules", .needsPrometheus)
struct RuleTests {
    static let tests: [String] = {
        let folder = "\(project)/Tests/MonitoringTests/Rules"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.sorted().map { "\(folder)/\($0)" }
    }()

    @Test("promtool has nothing to say about the rules and the configuration")
    func check() throws {
        let rules = try run("promtool", ["check", "rules", "--lint-fatal", "\(project)/deploy/monitoring/rules.yaml"])
        #expect(rules.code == 0, "\(rules.output)")
        let configuration = try run("promtool", ["check", "config", "\(project)/deploy/monitoring/prometheus.yaml"])
        #expect(configuration.code == 0, "\(configuration.output)")
    }

    @Test("Each alert fires, does not, and has no data, as the files of tests say", arguments: tests)
    func cases(file: String) throws {
        let result = try run("promtool", ["test", "rules", file])
        #expect(result.code == 0, "\(result.output)")
    }

    @Test("The files of tests have each alert fire, not fire, and meet daemons without series")
    func allTested() throws {
        let texts = Self.tests.map(readFile)
        let fired = Set(texts.flatMap { matches(of: #"- \{labels: '\{alertname="(\w+)""#, in: $0) })
        #expect(fired.sorted() == (try Alert.all().map(\.name).sorted()))
        for (file, text) in zip(Self.tests, texts) {
            // Whatever the series are, a query that expects nothing holds for all alerts.
            #expect(text.contains("exp_samples: []"), "\(file)")
            let hasNone = text.contains("the daemons have no series yet") || text.contains("no target is known")
            #expect(hasNone || file.hasSuffix("slow-burn.yaml"), "\(file)")
        }
    }

    /// A planted error, and which file of tests has to find it.
    struct Planted: CustomTestStringConvertible {
        var right: String
        var wrong: String
        var found: String
        var testDescription: String { "\(right) -> \(wrong)" }
    }

    @Test(
        "A planted error is found by the tests of its rule",
        arguments: [
            Planted(right: #"up{job="llm-rate-limit"} == 0"#, wrong: "up == 2", found: "availability"),
            Planted(right: #"absent(up{job="llm-rate-limit"})"#, wrong: "absent(up)", found: "availability"),
            Planted(
                right: "increase(llm_rate_limit_connections", wrong: "max_over_time(llm_rate_limit_connections",
                found: "availability"),
            Planted(right: "ratio_rate1h > 14.4", wrong: "ratio_rate1h > 1440", found: "fast-burn"),
            Planted(right: "ratio_rate5m > 14.4", wrong: "ratio_rate5m > -1", found: "fast-burn"),
            Planted(right: "ratio_rate6h > 6 ", wrong: "ratio_rate6h > 600 ", found: "fast-burn"),
            Planted(right: "ratio_rate30m > 6 ", wrong: "ratio_rate30m > -1 ", found: "fast-burn"),
            Planted(right: "[1h])) >= 20", wrong: "[1h])) >= 0", found: "fast-burn"),
            Planted(right: "ratio_rate1d > 3 ", wrong: "ratio_rate1d > 300 ", found: "slow-burn"),
            Planted(right: "ratio_rate2h > 3 ", wrong: "ratio_rate2h > -1 ", found: "slow-burn"),
            Planted(right: "ratio_rate3d > 0.001", wrong: "ratio_rate3d > 0.1", found: "slow-burn"),
            Planted(right: "ratio_rate6h > 0.001", wrong: "ratio_rate6h > -1", found: "slow-burn"),
            Planted(right: " and llm_rate_limit_breaker_open == 0", wrong: "", found: "redis"),
            Planted(right: "(job, instance, le)", wrong: "(job, le)", found: "redis"),
            Planted(
                right: "increase(llm_rate_limit_redis_data", wrong: "max_over_time(llm_rate_limit_redis_data",
                found: "redis"),
            Planted(right: "successful == 0\n        for: 5m", wrong: "successful == 0", found: "configuration"),
            Planted(right: "count_values by (job, part)", wrong: "count_values by (part)", found: "configuration"),
            Planted(right: "ratio_rate10m > 0.1", wrong: "ratio_rate10m > 0.01", found: "denials"),
            Planted(right: "<= 4 * avg", wrong: "<= 400 * avg", found: "denials"),
            Planted(right: "ratio_increase1h > 0.1", wrong: "ratio_increase1h > 0.5", found: "money"),
            Planted(
                right: "degraded_checks_total[1h]", wrong: "checks_total[1h]",
                found: "fast-burn"),
            Planted(
                right: "degraded_checks_total[6h]", wrong: "checks_total[6h]",
                found: "fast-burn"),
            Planted(
                right: "degraded_checks_total[2h]", wrong: "checks_total[2h]",
                found: "slow-burn"),
            Planted(
                right: "degraded_checks_total[1d]", wrong: "checks_total[1d]",
                found: "slow-burn"),
            Planted(
                right: "degraded_checks_total[3d]", wrong: "checks_total[3d]",
                found: "slow-burn"),
            Planted(right: "settled|released", wrong: "settled", found: "money"),
            Planted(right: #"{decision="denied"}[10m]"#, wrong: "[10m]", found: "denials"),
            Planted(right: "lost|refused", wrong: "lost", found: "events"),
            Planted(right: "lost|refused", wrong: "refused", found: "events"),
            Planted(right: "(job, outlet, result)", wrong: "(job)", found: "events"),
            Planted(
                right: "increase(llm_rate_limit_events", wrong: "max_over_time(llm_rate_limit_events", found: "events"),
            Planted(right: "dropped|failed|refused", wrong: "failed|refused", found: "spans"),
            Planted(right: "dropped|failed|refused", wrong: "dropped|refused", found: "spans"),
            Planted(right: "dropped|failed|refused", wrong: "dropped|failed", found: "spans"),
            Planted(right: #"{result!="abandoned"}"#, wrong: "", found: "spans"),
            Planted(right: "ratio_rate15m > 0.01", wrong: "ratio_rate15m > 0.1", found: "spans"),
            Planted(right: "ratio_rate15m > 0.01", wrong: "ratio_rate15m > 0.0001", found: "spans"),
            Planted(right: "for: 30m", wrong: "for: 10m", found: "spans"),
        ])
    func planted(error: Planted) throws {
        let folder = try TemporaryFolder()
        let text = try deployed("rules.yaml")
        try #require(text.contains(error.right))
        try folder.write(text.replacing(error.right, with: error.wrong), to: "rules.yaml")
        let tests = readFile("\(project)/Tests/MonitoringTests/Rules/\(error.found).yaml")
        let file = try folder.write(tests.replacing("../../../deploy/monitoring/", with: ""), to: "test.yaml")
        let result = try run("promtool", ["test", "rules", file])
        #expect(result.code != 0 && result.output.contains("FAILED"), "\(result.output)")
    }
}

/// An alert as its file has it.
struct Alert {
    var name: String
    var severity: String
    var runbook: String
    /// Its lines.
    var text: String

    static func all() throws -> [Alert] {
        try deployed("rules.yaml").components(separatedBy: "- alert: ").dropFirst().map { text in
            Alert(
                name: String(text.prefix { $0 != "\n" }),
                severity: matches(of: "^ +severity: (\\w+)$", in: text).first ?? "",
                runbook: matches(of: "^ +runbook_url: (\\S+)$", in: text).first ?? "", text: text)
        }
    }
}

@Suite("What each alert says")
struct AlertTests {
    @Test("Each alert has a severity, a summary, a description and the runbook's section of its name")
    func complete() throws {
        let alerts = try Alert.all()
        #expect(alerts.count > 10)
        for alert in alerts {
            #expect(["critical", "warning"].contains(alert.severity), "\(alert.name)")
            for part in ["summary: \"", "description: >-"] {
                #expect(alert.text.contains("  \(part)"), "\(alert.name)")
            }
            #expect(alert.runbook.hasSuffix("#\(alert.name)"), "\(alert.name)")
        }
        // Whoever installs the file sets it once.
        #expect(Set(alerts.map { $0.runbook.prefix { $0 != "#" } }).count == 1)
        #expect(try deployed("rules.yaml").contains("sed 's|\(alerts[0].runbook.prefix { $0 != "#" })|"))
        #expect(
            alerts.filter { $0.severity == "critical" }.map(\.name) == ["RateLimitDown", "RateLimitNotEnforcedFast"])
    }

    @Test("Each alert has its section in the runbook, and each section its alert")
    func runbook() throws {
        let page = readFile("\(project)/Sources/llm-rate-limit/LLMRateLimit.docc/Runbook.md")
        #expect(matches(of: "^### (RateLimit\\w+)$", in: page) == (try Alert.all().map(\.name)))
        for section in page.components(separatedBy: "\n### ").dropFirst() {
            for part in ["**Means.** ", "**Look at.** ", "**Do.** ", "**Over.** "] {
                #expect(section.contains("\n\(part)"), "\(section.prefix { $0 != "\n" }): \(part)")
            }
        }
    }
}
