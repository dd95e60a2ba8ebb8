import ArgumentParser
import DaemonConfiguration
import RateLimitCore
import Testing

@testable import llm_rate_limit

@Suite("The command line")
struct CommandLineTests {
    private let user = "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11"

    @Test("has a flag for every option of the catalogue, in the section of the catalogue")
    func everyOption() throws {
        let arguments = OptionName.allCases.flatMap { [$0.flag, "text of \($0.rawValue)"] }
        let given = try OptionFlags.parse(arguments).given
        #expect(given.count == OptionName.allCases.count)
        for option in OptionName.allCases { #expect(given[option] == "text of \(option.rawValue)") }

        let help = LLMRateLimit.helpMessage(for: ServeCommand.self, columns: 80)
        let flags = help.split(separator: "\n").compactMap { line in
            line.hasPrefix("  --") ? line.dropFirst(2).prefix { $0 != " " } : nil
        }
        #expect(Array(flags.prefix(OptionCatalogue.all.count)).map(String.init) == OptionCatalogue.all.map(\.name.flag))
        for section in OptionSection.allCases { #expect(help.contains("\n\(section.rawValue.uppercased()):\n")) }
    }

    @Test("gives nothing for flags that are absent, and yes for a switch alone")
    func switches() throws {
        #expect(try OptionFlags.parse([]).given.isEmpty)
        #expect(try OptionFlags.parse(["--shadow"]).given == [.shadow: "yes"])
        #expect(
            try OptionFlags.parse(["--shadow", "no", "--listen-public"]).given == [.shadow: "no", .listenPublic: "yes"])
    }

    @Test("has help that fits 80 columns")
    func helpWidth() {
        let commands = [any ParsableCommand.Type](
            LLMRateLimit.configuration.subcommands + [LLMRateLimit.self])
        for command in commands {
            for line in LLMRateLimit.helpMessage(for: command, columns: 80).split(separator: "\n") {
                #expect(line.count <= 80, "\(line)")
            }
        }
    }

    @Test("exits with 2 on wrong usage of a command that asks the daemon, with 64 elsewhere")
    func usageErrors() async {
        let cases: [([String], ExitCode?)] = [
            (["check"], .failedRequest), (["check", ""], .failedRequest),
            (["check", user, "--cost", "0"], .failedRequest),
            (["status", String(repeating: "k", count: 257)], .failedRequest),
            (["reset", user, "--nope"], .failedRequest),
            (["health", "extra"], .failedRequest), (["grant", user, "--limit", "x"], .failedRequest),
            (["grant", user, "--limit", "X", "--amount", "1"], .failedRequest),
            (["grant", user, "--limit", "x", "--amount", "0"], .failedRequest),
            (["serve", "--nope"], nil), (["config", "extra"], nil), (["nope"], nil),
        ]
        for (arguments, expected) in cases {
            let error = await #expect(throws: (any Error).self) {
                _ = try await LLMRateLimit.asyncParseAsRoot(arguments)
            }
            guard let error else { continue }
            #expect(LLMRateLimit.exitCode(for: error) == .validationFailure)
            #expect(LLMRateLimit.clientExitCode(of: error, arguments: arguments) == expected, "\(arguments)")
        }
        #expect(LLMRateLimit.clientExitCode(of: ExitCode(1), arguments: ["check"]) == nil)
        #expect(LLMRateLimit.clientExitCode(of: CleanExit.helpRequest(), arguments: ["check"]) == nil)
    }

    @Test("takes any text of 1 to 256 bytes as a user, and a UUID in either case")
    func users() throws {
        #expect(try UserArgument.read(user.uppercased()).text == user)
        for text in ["a", "alice@example.com", "{\(user)}", "tenant/αβγ", String(repeating: "k", count: 256)] {
            #expect(try UserArgument.read(text).text == text)
        }
        for text in ["", String(repeating: "k", count: 257)] {
            #expect(throws: ValidationError.self) { try UserArgument.read(text) }
        }
    }

    @Test("writes a user so that a path, a query and a JSON text hold it")
    func userTexts() throws {
        let id = try UserArgument.read("a/b+c?d#e&f=%41\"αβ\n")
        #expect(id.urlText == "a%2Fb%2Bc%3Fd%23e%26f=%2541%22%CE%B1%CE%B2%0A")
        #expect(id.jsonText == #""a/b+c?d#e&f=%41\"αβ\n""#)
    }

    @Test("prints no control character that came with a text")
    func printableLines() {
        #expect(printable("reset: a\u{1b}[2J\u{9b}\u{7f}\n") == #"reset: a\u001b[2J\u009b\u007f\u000a"#)
        #expect(printable("reset: αβγ") == "reset: αβγ")
    }

    @Test("checks a configuration with one line for each warning and error, and exit code 78")
    func configCheck() throws {
        let command = try ConfigCommand.parse(["--check", "--threads", "0"])
        let report = command.report(environment: [
            "LLM_RATE_LIMIT_REQUESTS": "abc", "LLM_RATE_LIMIT_WINDW": "1h", "PATH": "/bin",
        ])
        #expect(
            report
                == CommandReport(
                    errors: [
                        "Warning: unknown variables are ignored: LLM_RATE_LIMIT_WINDW (did you mean LLM_RATE_LIMIT_WINDOW?)",
                        "Error: cannot use LLM_RATE_LIMIT_REQUESTS=abc: accepted are whole numbers from 0 to "
                            + "1,000,000,000 (0 switches the limit off)",
                        "Error: cannot use LLM_RATE_LIMIT_THREADS=0 (flag --threads): accepted are whole numbers "
                            + "from 1 to 64",
                    ], exitCode: .badConfiguration))
        #expect(try ConfigCommand.parse(["--check"]).report(environment: [:]) == CommandReport())
    }

    @Test("shows a configuration as a table or as JSON")
    func config() throws {
        let table = try ConfigCommand.parse(["--requests", "7"]).report(environment: [:])
        #expect(table.output.first?.contains(" * REQUESTS                    flag         7\n") == true)
        let json = try ConfigCommand.parse(["--json"]).report(environment: ["LLM_RATE_LIMIT_REQUESTS": "8"])
        #expect(json.output.first?.hasPrefix(#"{"options":[{"name":"LLM_RATE_LIMIT_REQUESTS""#) == true)
        #expect(table.exitCode == .success && json.exitCode == .success)
    }
}
