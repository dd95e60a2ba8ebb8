import ArgumentParser
import DaemonConfiguration
import Foundation
import PrometheusMetrics
import TestSupport
import Testing

@testable import llm_rate_limit

@Suite("The words in backticks")
struct WordTests {
    @Test("Each names something that there is", arguments: Page.all)
    func exist(page: Page) {
        for word in Set(page.words).sorted() where !KnownWords.isKnown(word) {
            #expect(Self.exists(word), "\(page.name): `\(word)`")
        }
    }

    @Test("The words that are let through are each still on a page")
    func letThrough() {
        let words = Set(Page.all.flatMap(\.words))
        for (word, _) in KnownWords.reasons { #expect(words.contains(word), "`\(word)` stands on no page") }
    }

    @Test("Every command and flag of a block of commands is one of the program or of the scripts", arguments: Page.all)
    func commands(page: Page) {
        for block in page.blocks where ["console", "bash", ""].contains(block.language) {
            for line in block.text.replacing("\\\n", with: "").components(separatedBy: "\n") where line.hasPrefix("$ ")
            {
                for command in line.dropFirst(2).components(separatedBy: ";") {
                    guard let isRight = Self.isCommand(command.trimmingCharacters(in: .whitespaces)) else { continue }
                    #expect(isRight, "\(page.name): \(command)")
                }
            }
        }
    }

    static func exists(_ word: String) -> Bool {
        if let isFile = isFile(word) { return isFile }
        if let isOption = isOption(word) { return isOption }
        if let isMetric = isMetric(word) { return isMetric }
        if let isName = isName(word) { return isName }
        if let isKey = isKey(word) { return isKey }
        if let isForm = isForm(word) { return isForm }
        if let isCommand = isCommand(word) { return isCommand }
        if Repository.contains(word: word) { return true }
        if isRequest(word) { return true }
        return word.contains(" ") || word.contains("\"") ? QuoteTests.isSaid(word) : false
    }

    /// A path from the root, or a file's own name.
    private static func isFile(_ word: String) -> Bool? {
        if matches(of: "^(?:Sources|Tests|scripts|deploy)/[A-Za-z0-9_./+<>-]*$", in: word).isEmpty {
            guard !matches(of: "^[A-Za-z0-9+_-]+\\.(?:swift|lua|md|yaml|conf|service|socket)$", in: word).isEmpty else {
                return nil
            }
            return Repository.files.contains { $0.hasSuffix("/\(word)") }
        }
        let stem = word.components(separatedBy: "<")[0]
        return FileManager.default.fileExists(atPath: Repository.path(stem))
    }

    /// A variable with or without its prefix, a flag, or one of these with a value.
    private static func isOption(_ word: String) -> Bool? {
        if word.hasPrefix("--") {
            let flag = String(word.prefix { $0 != " " && $0 != "=" })
            return allFlags.contains(flag) || Repository.contains(word: flag)
        }
        guard let name = matches(of: "^([A-Z][A-Z0-9_]+)(?:=[^ ]*)?$", in: word).first else { return nil }
        if OptionName.allCases.contains(where: { [$0.variable, $0.shortName].contains(name) }) { return true }
        return word.contains("=") || name.hasPrefix(OptionName.variablePrefix) ? Repository.contains(word: name) : nil
    }

    private static func isMetric(_ word: String) -> Bool? {
        guard word.hasPrefix("llm_rate_limit_") else { return nil }
        let name = String(word.prefix { $0 != "{" })
        return MetricCatalogue.all.contains { $0.name == name } || Repository.contains(word: name)
    }

    /// A type, function or value of the sources, as `Type`, `Type.member`, `Type+Extension`, `function(label:)`, or a
    /// test suite behind its target.
    private static func isName(_ word: String) -> Bool? {
        let isSwift = !matches(of: "^(?:[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)(?:[.+/][A-Za-z0-9]+)*$", in: word).isEmpty
        let isFunction = !matches(of: "^[a-z][A-Za-z0-9]*\\([a-z:]*\\)$", in: word).isEmpty
        guard isSwift || isFunction else { return nil }
        if word.contains("+") { return Repository.files.contains { $0.hasSuffix("/\(word).swift") } }
        let parts = word.prefix { $0 != "(" }.split { "./".contains($0) }.map(String.init)
        if parts.allSatisfy(Repository.declared.contains) { return true }
        // A header or a directive of another program is written like a type.
        return Repository.contains(word: "\"\(word)\"") || Repository.contains(word: "\(word):")
    }

    /// A key in Redis, or its pattern.
    private static func isKey(_ word: String) -> Bool? {
        guard let rest = matches(of: "^[~&]?\\{?(?:llm-rate|<prefix>|grant)(:.*)$", in: word).first else { return nil }
        let parts = rest.components(separatedBy: ":").map { $0.filter { $0 != "}" } }
        return parts.allSatisfy {
            $0.isEmpty || $0 == "*" || $0.contains("<") || $0 == "…" || Repository.contains(word: $0)
        }
    }

    /// A method and a path, or a query: `RouteTests` holds the paths themselves.
    private static func isRequest(_ word: String) -> Bool {
        guard !matches(of: "^(?:[A-Z]+ )?(?:(?:/|…/)[a-z0-9/<>…]+)?(?:\\?.*)?$", in: word).isEmpty else { return false }
        let query = word.components(separatedBy: "?").dropFirst().first ?? ""
        return query.split(separator: "&").allSatisfy { pair in
            pair == "…" || Repository.contains(word: String(pair.prefix { $0 != "=" }))
        }
    }

    /// A JSON text, or members of one, by the names in it; a permission of Redis's, by its command.
    private static func isForm(_ word: String) -> Bool? {
        if word.hasPrefix("{\"") || word.hasPrefix("\"") {
            let names = matches(of: "\"([a-z_]+)\":", in: word)
            return names.isEmpty ? nil : names.allSatisfy { Repository.contains(word: $0) }
        }
        guard !matches(of: "^[+][a-z|\\\\]+$", in: word).isEmpty else { return nil }
        return word.dropFirst().split { "|\\".contains($0) }.allSatisfy { Repository.contains(word: $0.uppercased()) }
    }
}

extension WordTests {
    /// The flags of all commands.
    private static let allFlags: Set<String> = {
        let commands = LLMRateLimit.configuration.subcommands.map { LLMRateLimit.helpMessage(for: $0) }
        return Set(commands.flatMap { matches(of: "(--[a-z-]+)", in: $0) })
    }()

    /// Whether a script or a command of the program has what is asked of it; nil for what is neither.
    static func isCommand(_ text: String) -> Bool? {
        let words = text.split(separator: " ").map(String.init).drop { $0.contains("=") && !$0.hasPrefix("-") }
        guard let program = words.first else { return nil }
        let arguments = words.dropFirst().prefix { $0 != "#" && $0 != "|" }
        if program.hasPrefix("scripts/") {
            guard let script = Repository.texts[program] else { return false }
            // What bench-table, chaos and swift test take is theirs.
            let sources = Repository.texts.filter {
                $0.key.hasPrefix("Sources/bench-table") || $0.key.hasPrefix("Tests/Chaos")
            }
            let declared = sources.values.flatMap { matches(of: "@(?:Option|Flag)[^\n]*\n? *var ([A-Za-z]+)", in: $0) }
            let names = declared.map { "--" + $0.replacing(/[A-Z]/) { "-\($0.output.lowercased())" } }
            let flags = Set(names + matches(of: "(--[a-z-]+)", in: readFile(Repository.path(program))) + ["--filter"])
            return !script.isEmpty && arguments.filter { $0.hasPrefix("--") }.allSatisfy(flags.contains)
        }
        guard program == "llm-rate-limit", let name = arguments.first, name != "…" else { return nil }
        guard
            let command = LLMRateLimit.configuration.subcommands.first(where: { $0.configuration.commandName == name })
        else { return false }
        let help = LLMRateLimit.helpMessage(for: command)
        let flags = Set(matches(of: "(--[a-z-]+)", in: help))
        return arguments.filter { $0.hasPrefix("--") }.allSatisfy(flags.contains)
    }
}
