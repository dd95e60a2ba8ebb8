import TestSupport
import Testing

/// The functions of `scripts/lib.sh`, sourced as the scripts do.
@Suite("What the scripts say while they work")
struct ScriptTests {
    /// Runs a text in which `until_told` waits until `say` has said something, for a minute at most.
    private func run(_ text: String) throws -> ChildProcess {
        let folder = try TemporaryFolder()
        let told = folder.file("told")
        let hooks = """
            eval "plain_$(declare -f say)"
            say() { plain_say "$@"; : >'\(told)'; }
            until_told() { for _ in {1..600}; do [ -e '\(told)' ] && break; sleep 0.1; done; }
            """
        let library = "source '\(Repository.path("scripts/lib.sh"))'"
        let source = "set -euo pipefail; \(library); progress_seconds=0.2\n\(hooks)\n\(text)"
        let process = try ChildProcess("bash", ["-c", source, "\(Repository.path("scripts/run"))"])
        _ = try process.wait(seconds: 120)
        return process
    }

    @Test("In a pipe a build says again and again how far it is, and keeps the rest to itself")
    func progress() throws {
        let build = "build() { echo '[612/1357] Compiling X' >&2; until_told; }"
        let process = try run("\(build); watched building steps_built build; echo done")
        #expect(process.exitCode == 0)
        #expect(process.output == "done\n")
        let lines = process.errors.split(separator: "\n")
        #expect(!lines.isEmpty)
        for line in lines { #expect(line == "run: building: 612 of 1,357, 0 min") }
    }

    @Test("A program's own line of progress is told, and its output passes")
    func program() throws {
        let program = "program() { printf '\\r\\e[Kround 1 of 5' >&2; until_told; printf '\\r\\e[K' >&2; echo table; }"
        let process = try run("\(program); watched measuring last_shown program")
        #expect(process.exitCode == 0 && process.output == "table\n")
        #expect(process.errors.contains("run: measuring: round 1 of 5, 0 min\n"))
    }

    @Test("What a command wrote is shown where it fails, and its exit code is kept")
    func failure() throws {
        let program = "program() { printf '\\r\\e[Kround 1\\r\\e[K' >&2; echo 'error: no' >&2; return 7; }"
        let process = try run("\(program); watched measuring last_shown program")
        #expect(process.exitCode == 7)
        #expect(process.errors.contains("error: no") && !process.errors.contains("round"))
    }

    @Test("Nothing goes on waiting when a command that takes long is over")
    func waiting() throws {
        let asked = "is_asleep() { grep -qszx '9876[5]' /proc/[0-9]*/cmdline; }; progress_seconds=$((98700 + 65))"
        let program = "program() { for _ in {1..600}; do is_asleep && echo slept && break; sleep 0.1; done; }"
        let after = "for _ in {1..600}; do is_asleep || break; sleep 0.1; done; is_asleep || echo gone"
        let process = try run("\(asked)\n\(program); watched working last_shown program; \(after)")
        #expect(process.output == "slept\ngone\n", "\(process.errors)")
    }

    /// Those that people call.
    private static let named = Repository.files.filter { file in
        file.firstMatch(of: /^scripts\/[^.\/]+$/) != nil
            && readFile(Repository.path(file)).hasPrefix("#!/usr/bin/env bash")
    }

    @Test("Each says with --help what it does and how it is called, in 80 columns, and does nothing", arguments: named)
    func help(script: String) throws {
        let process = try ChildProcess(Repository.path(script), ["--help"])
        #expect(try process.wait() == 0 && process.errors.isEmpty, "\(process.errors)")
        let lines = process.output.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.first?.isEmpty == false && process.output.contains("\n  \(script)"), "\(process.output)")
        for line in lines { #expect(line.count <= 80 && !line.contains("set -euo"), "\(line)") }
    }

    @Test("Each refuses what it does not accept before anything takes long, and says what it does", arguments: named)
    func refusal(script: String) throws {
        let process = try ChildProcess(Repository.path(script), ["--nonsense"])
        let name = script.dropFirst("scripts/".count)
        #expect(try process.wait() == 1 && process.output.isEmpty)
        let refusal = try Regex("^\(name): cannot [a-z ]+ --nonsense: accepted (are|is) .*\n$")
        #expect(process.errors.wholeMatch(of: refusal) != nil, "\(process.errors)")
    }

    @Test(
        "A value that cannot be used is refused with what can",
        arguments: [
            (
                ["scripts/test", "--sanitize", "memory"],
                "test: cannot use --sanitize \"memory\": accepted are address, thread\n"
            ),
            (["scripts/test", "--filter"], "test: cannot use --filter without a value: accepted is --filter X\n"),
            (["scripts/chaos", "--minutes", "long"], "chaos: cannot use --minutes \"long\": accepted is a number\n"),
            (["scripts/run", "now"], "run: cannot use now: accepted is --help\n"),
        ])
    func values(call: [String], text: String) throws {
        let process = try ChildProcess(Repository.path(call[0]), Array(call.dropFirst()))
        #expect(try process.wait() == 1 && process.errors == text, "\(process.errors)")
    }

    @Test("Every script that builds does it through the function that tells how far it is")
    func builds() {
        for (name, text) in Repository.texts where name.hasPrefix("scripts/") && name != "scripts/lib.sh" {
            let direct = matches(of: "(^\\s*swift build.*)$", in: text).filter { !$0.contains("--show-bin-path") }
            #expect(direct.isEmpty, "\(name): \(direct)")
        }
    }
}
