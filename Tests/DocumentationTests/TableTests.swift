import ArgumentParser
import DaemonConfiguration
import Foundation
import PrometheusMetrics
import TestSupport
import Testing

@testable import llm_rate_limit

@Suite("The tables of the pages")
struct TableTests {
    /// A cell without its backticks.
    private func plain(_ cell: String) -> String { cell.replacingOccurrences(of: "`", with: "") }

    @Test("Operating has the options of the catalogue, each with its mark, default and what is accepted")
    func options() throws {
        let table = try #require(try Page.named("Operating").table(with: "accepted"))
        let expected = OptionCatalogue.all.map { option in
            return ["\(option.name.shortName)\(option.isReloadable ? " *" : "")", option.defaultText, option.accepted]
        }
        let rows = table.rows.map { $0.prefix(3).map(plain) }
        for row in expected where !rows.contains(row) {
            Issue.record("no row | `\(row[0])` | \(row[1]) | \(row[2]) |")
        }
        for row in rows where !expected.contains(row) { Issue.record("a row of no option: \(row)") }
        #expect(Set(rows).count == rows.count)
    }

    @Test("The README's options have the catalogue's marks and defaults, and it tells how many there are")
    func shortOptions() throws {
        let table = try #require(Page.readme.table(with: "default"))
        for row in table.rows {
            let name = matches(of: "`([A-Z_]+)`", in: row[0]).first ?? ""
            let option = try #require(OptionName.allCases.first { $0.shortName == name }, "\(row[0])")
            #expect(row[0].hasSuffix("*") == OptionCatalogue[option].isReloadable, "\(name)")
            #expect(row[1] == OptionCatalogue[option].defaultText, "\(name)")
        }
        #expect(matches(of: "shows all ([0-9]+)", in: Page.readme.prose) == ["\(OptionCatalogue.all.count)"])
    }

    @Test("Operating has every command, and the program every command of it")
    func commands() throws {
        let table = try #require(try Page.named("Operating").tables.first { $0.section == "Commands" })
        let named = table.rows.flatMap { row in matches(of: "`([a-z-]+)", in: row[0]) }
        let commands = LLMRateLimit.configuration.subcommands.compactMap { $0.configuration.commandName }
        #expect(named.sorted() == commands.sorted())
    }

    @Test("Operating has every metric that a daemon has, with its labels")
    func metrics() throws {
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        // One of a window for each value has a metric of its own.
        let limits = "limits: [{name: t, per: [user, model], unit: tokens, quota: 5, window: 1h}]"
        let file = try folder.write(limits, to: "limits")
        let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": file])
        let page = try daemon.connect().request("GET", "/metrics").text
        var labels = Dictionary(
            uniqueKeysWithValues: matches(of: "^# TYPE ([^ ]+) ", in: page).map { ($0, Set<String>()) })
        for series in matches(of: "^([a-z][^ ]*\\{.*\\}) ", in: page) {
            var name = String(series.prefix { $0 != "{" })
            for suffix in ["_bucket", "_sum", "_count"] where labels[name] == nil && name.hasSuffix(suffix) {
                name.removeLast(suffix.count)
            }
            labels[name]?.formUnion(matches(of: "[{,]([a-z_]+)=\"", in: series).filter { $0 != "le" })
        }
        #expect(MetricCatalogue.all.allSatisfy { labels[$0.name] != nil })

        let table = try #require(try Page.named("Operating").table(with: "watch"))
        let told = table.column("metric").flatMap { matches(of: "`([^`]+)`", in: $0) }.map { cell in
            let parts = cell.components(separatedBy: "{")
            return (parts[0], parts.count == 1 ? [] : Set(parts[1].dropLast().components(separatedBy: ",")))
        }
        #expect(Dictionary(told) { $1 } == labels)
    }

    @Test("The fault tables have a row for every fault, in their order")
    func faults() throws {
        let faults = try #require(try Page.named("Faults").marked("faults")?.table(with: "fault"))
        #expect(faults.column("fault") == Fault.allCases.map(\.rawValue))
    }

    @Test("Testing has every target of the fuzzer, and says what each ran")
    func fuzzers() throws {
        let page = try Page.named("Testing")
        let corpus = Repository.files.filter { $0.hasPrefix("Tests/Fuzz/Corpus/") }
        let targets = Set(corpus.map { $0.components(separatedBy: "/")[3] }).sorted()
        for column in ["what must hold", "executions"] {
            let table = try #require(page.table(with: column))
            #expect(table.column("target").map(plain).sorted() == targets, "\(column)")
        }
    }

    @Test("Architecture has every module with what it uses, as the package has it")
    func modules() throws {
        let table = try #require(try Page.named("Architecture").table(with: "uses"))
        let told = table.rows.flatMap { row in
            let uses = matches(of: "`([^`]+)`", in: row[1]).sorted().joined(separator: " ")
            return matches(of: "`([^`]+)`", in: row[0]).map { [$0, uses] }
        }
        let modules = Repository.targets.filter { target in
            !target.isTest && Repository.files.contains { $0.hasPrefix("Sources/\(target.name)/") }
        }
        #expect(modules.count > 10)
        let known = modules.map { [$0.name, $0.uses.joined(separator: " ")] }
        #expect(told.sorted { $0[0] < $1[0] } == known.sorted { $0[0] < $1[0] })
        let picture = try #require(Page.readme.blocks.first { $0.text.contains("─>") })
        for name in matches(of: "\\b([A-Z]+[a-z]+[A-Z]\\w+)", in: picture.text) {
            #expect(Repository.targets.contains { $0.name == name }, "the README's picture has \(name)")
        }
    }
}
