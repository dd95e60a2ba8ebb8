import Foundation
import TestSupport
import Testing

/// The pages for `man` against the program. How `man` shows them, InstallTests hold.
@Suite("The manual's pages")
struct ManualTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A page as `scripts/package` writes it, without what keeps roff from reading words as its own.
    private func page(_ kind: String, of program: [String]) throws -> String {
        let script = #""$0" "${@:2}" | SOURCE_DATE_EPOCH=0 '\#(projectFolder)/scripts/package.d/manual' "$1" 1.2.3"#
        let made = try ChildProcess("bash", ["-o", "pipefail", "-c", script, Daemon.program, kind] + program)
        guard try made.wait(seconds: 60) == 0 else { throw TestFailure(made.errors) }
        return made.output.replacing("\\-", with: "-")
    }

    @Test("llm-rate-limit(1) has a section for every command that the program has, and for no other")
    func commands() throws {
        let help = try ChildProcess(Daemon.program, ["--experimental-dump-help"])
        #expect(try help.wait() == 0)
        let tree = try JSONSerialization.jsonObject(with: Data(help.output.utf8)) as? [String: Any]
        let command = try #require(tree?["command"] as? [String: Any])
        let parts = try #require(command["subcommands"] as? [[String: Any]])
        let names = parts.filter { $0["shouldDisplay"] as? Bool == true }.compactMap { $0["commandName"] as? String }
            .filter { $0 != "help" }
        #expect(names.contains("serve") && names.contains("check"))
        let page = try page("commands", of: ["--experimental-dump-help"])
        let sections = page.matches(of: /(?m)^\.Ss llm-rate-limit (.*)$/).map { String($0.output.1) }
        #expect(sections == names)
    }

    @Test("llm-rate-limit(5) names every key that the reader of limits files accepts")
    func keys() throws {
        let text = readFile("\(projectFolder)/deploy/man/llm-rate-limit.5")
        // What is typed as it stands: a key, several, or a value with its keys.
        let typed = text.matches(of: /(?m)^\.(?:It |Pq )?Cm (.*)$/).flatMap { line in
            line.output.1.split { !$0.isLetter && !$0.isNumber && !"_-.".contains($0) }.map(String.init)
        }
        let limit = "limits: [{name: a, per: user, unit: requests, quota: 1, window: {other: 1}}]"
        let files = [
            "{other: 1}", "limits: [{name: a, other: 1}]", limit, "lease: {other: 1}", "prices: {other: 1}",
            "prices: {models: {a: {other: 1}}}",
            "limits: [{name: a, per: user, unit: tokens, quota: 1, window: 1h, weights: {other: 1}}]",
            "prices: {models: {a: {input: 1, output: 1, tiers: [{other: 1}]}}}",
        ]
        for file in files {
            let path = try folder.write(file + "\n", to: "limits.yaml")
            let refusal = try ChildProcess(Daemon.program, ["config", "--check", "--limits-file", path])
            #expect(try refusal.wait() == 78)
            let accepted = try #require(refusal.errors.firstMatch(of: /accepted are (.*)/), "\(file)")
            let keys = accepted.output.1.split(separator: ", ").map(String.init)
            #expect(keys.count >= 2 && Set(keys).subtracting(typed) == [], "\(file)")
        }
    }

    @Test("llm-rate-limit(7) has every variable with its option")
    func options() throws {
        let shown = try ChildProcess(Daemon.program, ["config", "--json"])
        #expect(try shown.wait() == 0)
        let value = try JSONSerialization.jsonObject(with: Data(shown.output.utf8)) as? [String: Any]
        let options = try #require(value?["options"] as? [[String: Any]])
        #expect(options.count > 40)
        let page = try page("environment", of: ["config", "--json"])
        let items = page.matches(of: /(?m)^\.It Ev (\S+) , Fl Fl (\S+)$/).map { "\($0.output.1) --\($0.output.2)" }
        #expect(items == options.map { "\($0["name"] ?? "") \($0["flag"] ?? "")" })
    }
}
