import Foundation
import TestSupport
import Testing

/// `scripts/demo`, which shows a real gateway under limits.
@Suite("The demo", .serialized, .needs("litellm", "nginx", "haproxy", "caddy", "traefik", "envoy"))
struct DemoTests {
    @Test(
        "It ends by itself, and its picture has who was allowed, who was denied for how long, and who passed uncounted")
    func picture() throws {
        try check("litellm")
        // These have next to nothing to do, and wait most of the time.
        let gateways = ["nginx", "haproxy", "caddy", "traefik", "envoy-ext-authz"]
        _ = try concurrently(gateways.count) { _ = try check(gateways[$0]) }
    }

    @Test("Envoy's shows who was denied for requests and who for tokens, and one line of what the daemon counts")
    func tokens() throws {
        // Envoy's own answers have no body.
        let demo = try check("envoy", denial: "429, 5 of 5 used, Retry-After: ")
        let output = demo.process.output
        let carol = try demo.row("carol")
        #expect(carol.allSatisfy { "+o 123456789".contains($0) }, "\(output)")
        #expect(carol.contains("+") && carol.contains { $0.isNumber }, "\(output)")
        for text in ["4,000 tokens are charged", "carol  denied   429, 8,000 of 8,000 tokens used, Retry-After: "] {
            #expect(output.contains(text), "\(text)\n\(output)")
        }
        let metric = /\n  llm_rate_limit_descriptors_total\{domain="api",path="user",result="over"\} [1-9]\d*\n/
        #expect(output.firstMatch(of: metric) != nil, "\(output)")
    }

    /// Runs a demo to its end, and checks what all of them show.
    @discardableResult
    private func check(_ gateway: String, denial: String = "429, 5 of 5 used, \"Try again in") throws -> Demo {
        let demo = try Demo(gateway)
        #expect(try demo.process.wait(seconds: 400) == 0, "\(gateway): \(demo.process.errors)")
        let output = demo.process.output
        #expect(!output.contains("\u{1b}") && !demo.process.errors.contains("\u{1b}"))
        for line in output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }

        let (alice, bob) = (try demo.row("alice"), try demo.row("bob"))
        #expect(alice.count == 44 && alice.allSatisfy { "+o123456789".contains($0) }, "\(output)")
        #expect(alice.contains("+") && alice.contains("o") && alice.contains { $0.isNumber }, "\(output)")
        // Who asks less than the quota is never denied, whatever others do.
        #expect(bob.allSatisfy { "+o ".contains($0) } && bob.contains("+"), "\(output)")
        #expect(try demo.row("Redis") == String(repeating: "=", count: 24) + "...." + String(repeating: "=", count: 16))
        // Where Redis has stopped nobody counts; when it is back it is counted again.
        let stopped = bob.index(bob.startIndex, offsetBy: 24)
        #expect(bob[stopped] == "o" && bob[stopped...].contains("+"), "\(output)")
        let told = [
            "alice  denied   \(denial)", "Redis  stops answering", "Redis  answers again",
            "bob    open     200, not counted (", "scripts/demo \(gateway) --stay",
        ]
        for text in told { #expect(output.contains(text), "\(text)\n\(output)") }
        demo.expectNothingLeft()
        return demo
    }

    @Test("With --stay it goes on, its commands work as they are printed, and Ctrl-C ends it all")
    func stay() throws {
        let demo = try Demo("litellm", "--stay")
        let commands = try demo.commands()
        let (curl, explain) = (
            try #require(commands.firstMatch(of: /(?s)  curl .*?\}\]\}'/)).0,
            try #require(commands.firstMatch(of: /export LLM_RATE_LIMIT_SOCKET=.*\n.* explain alice/)).0
        )
        let told = try run("for _ in 1 2 3 4 5 6; do \(curl); done; \(explain)")
        #expect(told.contains("429 Too Many Requests") && told.contains("retry-after: "), "\(told)")
        #expect(told.contains("requests"), "\(told)")
        let stop = try #require(commands.firstMatch(of: /kill -STOP \d+/)).0
        _ = try run(String(stop))
        // A process that is stopped ends as the others do.
        demo.noteProcesses()
        demo.process.send(SIGINT)
        #expect(try demo.process.wait(seconds: 60) == 0)
        demo.expectNothingLeft()
    }

    @Test("With --stay Envoy's is asked, and tells what became of requests and tokens, as is printed")
    func stayWithEnvoy() throws {
        let demo = try Demo("envoy", "--stay")
        let commands = try demo.commands()
        let (curl, metrics) = (
            try #require(commands.firstMatch(of: /(?s)  curl -i .*?\}\]\}'/)).0,
            try #require(commands.firstMatch(of: /(?s)  curl -s .*descriptors_total/)).0
        )
        let told = try run("for _ in 1 2 3 4 5 6; do \(curl); done; \(metrics)")
        #expect(told.contains("429 Too Many Requests") && told.contains("retry-after: "), "\(told)")
        #expect(told.contains(#"path="user_tokens",result="ok"} "#), "\(told)")
        demo.noteProcesses()
        demo.process.send(SIGINT)
        #expect(try demo.process.wait(seconds: 60) == 0)
        demo.expectNothingLeft()
    }

    @Test(
        "Ctrl-C leaves no process and no folder behind",
        arguments: [
            ("litellm", "starting LiteLLM"), ("litellm", "stops answering"), ("envoy", "stops answering"),
            ("traefik", "asks twice a second"),
        ])
    func interrupted(gateway: String, moment: String) throws {
        let demo = try Demo(gateway)
        try demo.until(moment)
        demo.noteProcesses()
        demo.process.send(SIGINT)
        #expect(try demo.process.wait(seconds: 60) == 130)
        demo.expectNothingLeft()
    }

    @Test(
        "What is not accepted is told with what is",
        arguments: [
            (["kong"], "cannot show kong: accepted are "), ([], "cannot show a gateway: none is named; accepted are "),
            (["litellm", "litellm"], "cannot show litellm and litellm: accepted are "),
            (["litellm", "--fast"], "cannot use --fast: accepted are --stay and --daemon PATH"),
            (["litellm", "--daemon", "/nowhere"], "cannot show the daemon \"/nowhere\": accepted is the path of "),
        ])
    func refused(arguments: [String], text: String) throws {
        let process = try ChildProcess(Demo.script, arguments)
        #expect(try process.wait() == 1)
        #expect(process.errors.hasPrefix("demo: \(text)") && process.output.isEmpty, "\(process.errors)")
    }

    private func run(_ commands: String) throws -> String {
        let shell = try ChildProcess("bash", ["-c", commands])
        _ = try shell.wait(seconds: 120)
        return shell.output
    }
}

/// The demo while it runs, with the daemon of the tests.
private final class Demo {
    static let script = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/scripts/demo"

    let process: ChildProcess
    private var folder = ""
    private var children: [pid_t] = []

    init(_ arguments: String...) throws {
        if let program = arguments.first?.split(separator: "-").first { _ = try UnpackedGateway(String(program)) }
        process = try ChildProcess(Self.script, arguments + ["--daemon", Daemon.program])
        try until("starting ")
        noteProcesses()
    }

    /// Waits until it has said something.
    func until(_ text: String) throws {
        let isSaid = eventually(within: 400) {
            process.exitCode != nil || process.output.contains(text) || process.errors.contains(text)
        }
        guard isSaid, process.exitCode == nil else {
            throw TestFailure("the demo does not say \"\(text)\": \(process.output)\n\(process.errors)")
        }
    }

    /// Remembers its processes and its folder, which must be gone at the end.
    func noteProcesses() {
        let list = readFile("/proc/\(process.id)/task/\(process.id)/children")
        children = list.split(separator: " ").compactMap { pid_t($0) }
        for child in children {
            let line = readFile("/proc/\(child)/cmdline")
            if let found = line.firstMatch(of: /\/tmp\/llm-rate-limit\.\w+/) { folder = String(found.0) }
        }
        #expect(children.count >= 3 && FileManager.default.fileExists(atPath: folder), "\(children) \(folder)")
    }

    func expectNothingLeft() {
        for child in children { #expect(kill(child, 0) == -1 && errno == ESRCH, "process \(child) is left") }
        #expect(!FileManager.default.fileExists(atPath: folder))
    }

    /// The commands that it prints with --stay, once it stays.
    func commands() throws -> String {
        try until("Ctrl-C stops all of it.")
        return process.output.split(separator: "\n").filter { $0.hasPrefix("  ") }.joined(separator: "\n")
    }

    /// One row of the picture.
    func row(_ name: String) throws -> String {
        let start = "  " + name.padding(toLength: 8, withPad: " ", startingAt: 0)
        let row = process.output.split(separator: "\n").first { $0.hasPrefix(start) }
        return String(try #require(row, "\(process.output)").dropFirst(start.count))
    }
}
