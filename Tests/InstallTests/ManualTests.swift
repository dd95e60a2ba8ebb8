import Foundation
import TestSupport
import Testing

/// The pages for `man`.
@Suite("The manual", .needsPackages)
struct ManualTests {
    let tarball: Tarball

    init() throws { tarball = try Tarball() }

    /// A page as `man` shows it, in one line and without hyphenation.
    private func shown(_ section: Int) throws -> String {
        let page = "\(tarball.root)/usr/share/man/man\(section)/llm-rate-limit.\(section).gz"
        let format = "zcat '\(page)' | groff -mdoc -Tascii -P-cbou -rHY=0"
        let text = try Command("sh", ["-c", format]).succeeded()
        return text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    /// Whether a text stands there, and not as a part of a longer name.
    private static func has(_ text: String, word: String) -> Bool {
        func isPart(_ character: Character?) -> Bool {
            character.map { $0.isLetter || $0.isNumber || "_-".contains($0) } ?? false
        }
        return text.ranges(of: word).contains { range in
            let before = range.lowerBound == text.startIndex ? nil : text[text.index(before: range.lowerBound)]
            let after = range.upperBound == text.endIndex ? nil : text[range.upperBound]
            return !isPart(before) && !isPart(after)
        }
    }

    @Test("Neither groff nor mandoc warns of a page", .needs("debian"), .needsNamespaces)
    func warnings() throws {
        let machine = try Machine(booted: false)
        let page = machine.path("/tmp/page")
        for section in [1, 5, 7] {
            let packed = "\(tarball.root)/usr/share/man/man\(section)/llm-rate-limit.\(section).gz"
            try Command("zcat", [packed]).succeeded().write(toFile: page, atomically: false, encoding: .utf8)
            let groff = try machine.run("groff", "-mdoc", "-Tutf8", "-ww", "-z", "/tmp/page")
            #expect(groff.code == 0 && groff.errors == "", "\(section)")
            let mandoc = try machine.run("mandoc", "-T", "lint", "-W", "warning", "/tmp/page")
            #expect(mandoc.code == 0 && mandoc.output == "", "\(section)")
        }
    }

    @Test("llm-rate-limit(1) names every command that the program has")
    func commands() throws {
        let help = try Command(tarball.program, ["--experimental-dump-help"]).succeeded()
        let tree = try JSONSerialization.jsonObject(with: Data(help.utf8)) as? [String: Any]
        let command = try #require(tree?["command"] as? [String: Any])
        let parts = try #require(command["subcommands"] as? [[String: Any]])
        let names = parts.filter { $0["shouldDisplay"] as? Bool == true }.compactMap { $0["commandName"] as? String }
            .filter { $0 != "help" }
        #expect(names.contains("serve") && names.contains("check"))
        let page = try shown(1)
        for name in names { #expect(Self.has(page, word: "llm-rate-limit \(name)"), "\(name)") }
    }

    @Test("llm-rate-limit(5) names every key that the reader of limits files accepts")
    func keys() throws {
        let page = try shown(5)
        let limit = "limits: [{name: a, per: user, unit: requests, quota: 1, window: {other: 1}}]"
        let files = [
            "{other: 1}", "limits: [{name: a, other: 1}]", limit, "lease: {other: 1}", "prices: {other: 1}",
            "prices: {models: {a: {other: 1}}}",
        ]
        for file in files {
            let path = try tarball.folder.write(file + "\n", to: "limits.yaml")
            let refusal = try Command(tarball.program, ["config", "--check", "--limits-file", path])
            let accepted = try #require(refusal.errors.trimmed.firstMatch(of: /accepted are (.*)$/), "\(file)")
            let keys = accepted.output.1.split(separator: ", ")
            #expect(refusal.code == 78 && keys.count >= 2)
            for key in keys { #expect(Self.has(page, word: String(key)), "\(key) of \(file)") }
        }
    }

    @Test("llm-rate-limit(7) names every variable and its option")
    func options() throws {
        let shown = try Command(tarball.program, ["config", "--json"]).succeeded()
        let value = try JSONSerialization.jsonObject(with: Data(shown.utf8)) as? [String: Any]
        let options = try #require(value?["options"] as? [[String: Any]])
        #expect(options.count > 40)
        let page = try self.shown(7)
        for option in options {
            for name in ["name", "flag"] {
                let word = try #require(option[name] as? String)
                #expect(Self.has(page, word: word), "\(word)")
            }
        }
    }
}
