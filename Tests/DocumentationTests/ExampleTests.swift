import Foundation
import TestSupport
import Testing

/// A command of a block, and what the page shows behind it.
private struct Example {
    var command: String
    var output: String

    /// The commands of a block of the kind `console`.
    static func all(in block: Page.Block) -> [Example] {
        block.lines.reduce(into: []) { examples, line in
            if line.hasPrefix("$ ") {
                examples.append(Example(command: String(line.dropFirst(2)), output: ""))
            } else if let last = examples.last {
                let isContinued = last.command.hasSuffix("\\")
                if isContinued { examples[examples.count - 1].command += "\n\(line)" }
                if !isContinued { examples[examples.count - 1].output += "\(line)\n" }
            }
        }
    }
}

/// The examples of the pages, run against real daemons. What differs from run to run is compared by its form alone.
@Suite("The examples of the pages", .serialized)
struct ExampleTests {
    private let redis: RedisServer
    private let folder: TemporaryFolder

    init() throws {
        redis = try RedisServer()
        folder = try TemporaryFolder()
    }

    /// What cannot be run in a test, each with the reason.
    private static let reasons = [
        "scripts/": "builds, or runs the tests themselves",
        "sudo apt-get install ./": "InstallTests install the package",
        "docker load": "ImageTests load the image",
        "perf ": "is not on every machine",
        "llm-rate-limit explain 2b1e9f70": "shows a month of spending, which TeamBudgetTests goes through",
        "llm-rate-limit check 2b1e9f70": "is denied after that month",
        "llm-rate-limit explain alice@example.com --label": "shows what SessionCapTests go through",
        "systemd-socket-activate": "serves until it is ended; ServiceTests hand sockets over",
    ]

    /// What is done before a command, by a part of it: a page leaves out how a state came about.
    private static let preparations = [
        "http://localhost/v1/users/6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11\n": """
        curl -s --unix-socket "$SOCKET" 'http://localhost/v1/check?user=6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11&cost=18'
        """,
        "http://localhost/v1/reserve": """
        for i in 1 2 3 4; do curl -s --unix-socket "$SOCKET" -H 'Content-Type: application/json' \
        http://localhost/v1/usage -d '{"user":"6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11","model":"gpt-4o",
        "input_tokens":1200,"output_tokens":300}'; done
        """,
    ]

    private func daemon(for page: Page, _ settings: [String: String] = [:]) throws -> Daemon {
        try Daemon(redis: redis.url, settings)
    }

    /// Runs a command of a page, and gives what it wrote.
    private func run(
        _ command: String, on daemon: Daemon, _ more: [String: String] = [:]
    ) throws -> String {
        let path = (Daemon.program as NSString).deletingLastPathComponent
        let variables = [
            "SOCKET": daemon.socketPath, "ADMIN_SOCKET": daemon.adminSocketPath,
            "REDIS_SOCKET": redis.socketPath, "PATH": "\(path):\(ProcessInfo.processInfo.environment["PATH"] ?? "")",
            "LLM_RATE_LIMIT_SOCKET": daemon.socketPath, "LLM_RATE_LIMIT_ADMIN_SOCKET": daemon.adminSocketPath,
        ]
        let curl = "curl() { command curl -sS \"$@\" && case \" $* \" in *' -i '*) ;; *) echo ;; esac; }\n"
        let process = try ChildProcess("bash", ["-c", curl + command], environment: variables.merging(more) { $1 })
        _ = try process.wait(seconds: 60)
        return process.output + process.errors
    }

    /// A text without what differs from run to run: times, waits, the ids of processes, and headers a page leaves out.
    private func form(_ text: String) -> String {
        var lines = text.replacing("\r\n", with: "\n").components(separatedBy: "\n")
        lines.removeAll { $0.hasPrefix("Date: ") || $0.hasPrefix("Content-Length: ") || $0.isEmpty }
        return lines.joined(separator: "\n")
            .replacing(/\d{4}-\d\d-\d\dT[\d:.]+Z|\d{4}-\d\d-\d\d [\d:]+ UTC/, with: "#time")
            .replacing(
                /"(pid|uptime_seconds|not_enforcing_since|retry_after|reset_after|expires_in)":[1-9]\d*|"uptime_seconds":0/
            ) {
                match in
                "\"\(match.output.1 ?? "uptime_seconds")\":#"
            }
            .replacing(/([;]t=|Retry-After: )[1-9]\d*/) { "\($0.output.1)#" }
            .replacing(
                #/ in [1-9]\d* (?:day|hour|minute|second)s?(?: [1-9]\d* (?:day|hour|minute|second)s?)*/#, with: " in #")
    }

    private func compare(_ shown: String, _ real: String, _ name: String) {
        let fits = TextPattern(quoting: form(shown)).fits(TextPattern(quoting: form(real)))
        #expect(fits, "\(name)\nshown:\n\(form(shown))\nreal:\n\(form(real))")
    }

    private func play(
        _ page: Page, _ daemon: Daemon, _ variables: [String: String] = [:],
        where isPlayed: (String) -> Bool = { _ in true }
    ) throws {
        var played = 0
        var before = ""
        for var example in page.blocks.filter({ $0.language == "console" }).flatMap(Example.all)
        where isPlayed(example.command) {
            if example.command == "echo $?" { example.command = "(\(before)) >/dev/null 2>&1; echo $?" }
            before = example.command
            if Self.reasons.keys.contains(where: example.command.hasPrefix) { continue }
            for (part, preparation) in Self.preparations where "\(example.command)\n".contains(part) {
                _ = try run(preparation, on: daemon)
            }
            compare(example.output, try run(example.command, on: daemon, variables), "\(page.name): \(example.command)")
            played += 1
        }
        #expect(played > 0)
    }

    @Test("The README's commands print what it shows")
    func readme() throws { try play(.readme, daemon(for: .readme)) }

    @Test("Protocol's commands print what it shows")
    func protocolPage() throws {
        let page = try Page.named("Protocol")
        let others = try #require(page.unmarked("routes"))
        try play(others, daemon(for: page)) { !$0.contains("limit=token") }
        let file = try folder.write(
            "limits: [{name: tokens, per: user, unit: tokens, quota: 9, window: 1h}]", to: "file")
        try play(others, daemon(for: page, ["LIMITS_FILE": file])) { $0.contains("limit=token") }
    }

    @Test("Protocol's commands of every route print what it shows, one after the other")
    func routes() throws {
        let page = try #require(try Page.named("Protocol").marked("routes"))
        let limits = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 100000, window: 1h}
              - {name: team, per: group, unit: requests, quota: 1000, window: 1h}
            """
        let file = try folder.write(limits, to: "file")
        let descriptors = "domain: api\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 5}}]\n"
        let daemon = try daemon(
            for: page,
            [
                "LIMITS_FILE": file, "GROUPS": "given", "GRPC_SOCKET": folder.file("grpc"),
                "ENVOY_CONFIG": try folder.write(descriptors, to: "descriptors.yaml"),
            ])
        let client = try daemon.connect()
        func lease() throws -> String {
            let body = #"{"user":"ada","output_tokens":500}"#
            return try #require(try client.request("POST", "/v1/reserve", body: body).json["lease"] as? String)
        }
        let variables = ["JSON": "Content-Type: application/json", "LEASE": try lease(), "OTHER_LEASE": try lease()]
        try play(page, daemon, variables)
    }

    @Test("Limits' commands print what it shows, each under the file of its part of the page")
    func limits() throws {
        let page = try Page.named("Limits")
        let files = page.blocks.filter { $0.language == "yaml" }.map(\.text)
        let values = try #require(files.first { $0.contains("per: label:tenant") })
        let candidates = try #require(files.first { $0.contains("model: large-1") })
        for (index, text) in [files[0], values, candidates].enumerated() {
            let file = try folder.write(text, to: "file-\(index)")
            try play(page, daemon(for: page, ["LIMITS_FILE": file, "REQUESTS": "0"])) {
                ($0.contains(#""labels""#) ? 1 : $0.contains("large-1") ? 2 : 0) == index
            }
        }
    }

    @Test("Budgets' commands print what it shows")
    func budgets() throws {
        let page = try Page.named("Budgets")
        let limits = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
              - {name: member-day, per: user, unit: spend, quota: $5, window: 1d}
            """
        let file = try folder.write(limits, to: "file")
        try play(page, daemon(for: page, ["LIMITS_FILE": file]))
    }

    @Test("Events' command prints what it shows, and its table has every member that the description has")
    func events() throws {
        let page = try Page.named("Events")
        let limits = "limits: [{name: calls, per: user, unit: requests, quota: 5, window: 1h, warn_at: [0.8]}]"
        let file = try folder.write(limits, to: "file")
        let daemon = try daemon(for: page, ["LIMITS_FILE": file, "REQUESTS": "0"])
        for _ in 0..<5 { _ = try daemon.connect().check("ada") }
        let admin = try daemon.connectAdmin()
        #expect(
            try eventually(within: 20) {
                (try admin.request("GET", "/v1/events").json["events"] as? [Any])?.count == 2
            })
        try play(page, daemon)

        var schema: Any? = try daemon.connect().request("GET", "/v1/openapi.json").json
        for name in ["components", "schemas", "Events", "properties", "events", "items", "properties"] {
            schema = (schema as? [String: Any])?[name]
        }
        let told = try #require(page.tables.first { $0.header.first == "member" })
        let names = told.rows.flatMap { matches(of: "`([^`]+)`", in: $0[0]) }
        #expect(names.count > 15 && names.sorted() == (schema as? [String: Any])?.keys.sorted())
        let block = try #require(page.blocks.first { $0.language == "json" })
        let shown = try JSONSerialization.jsonObject(with: Data(block.text.utf8)) as? [String: Any]
        #expect(Set(names).isSuperset(of: try #require(shown).keys))
    }

    @Test("Operating's commands print what it shows, with Redis and without")
    func operating() throws {
        let page = try Page.named("Operating")
        let daemon = try daemon(for: page)
        try play(page, daemon, ["LLM_RATE_LIMIT_REDIS_URL": "redis://user:secret@h:1/2"]) { !$0.contains("health") }
        redis.end()
        #expect(
            try eventually(within: 20) { try daemon.connect().request("GET", "/readyz?require=redis").status == 503 })
        try play(page, daemon) { $0.contains("health") }
    }

    @Test("Security's command gives the hash that it shows")
    func security() throws {
        let page = try Page.named("Security")
        try play(page, daemon(for: page))
    }

    @Test("The load of Performance reports in the form that it shows")
    func performance() throws {
        let page = try Page.named("Performance")
        let daemon = try daemon(for: page)
        let examples = page.blocks.filter { $0.language == "console" }.flatMap(Example.all)
        let example = try #require(examples.first { $0.command.contains("llm-rate-limit bench") })
        let real = try run(example.command.replacing("--duration 3", with: "--duration 1"), on: daemon)
        func labels(_ text: String) -> [String] {
            form(text).replacing(/[0-9][0-9,.]*|[^ \n]*\/[^ \n]*/, with: "#").replacing(#/ +/#, with: " ")
                .components(separatedBy: "\n")
        }
        #expect(labels(example.output) == labels(real))
    }
}

extension ExampleTests {
    @Test("The Swift that Gateways shows is what EndToEndTests compile and run")
    func swift() throws {
        let block = try #require(try Page.named("Gateways").blocks.first { $0.language == "swift" })
        let file = readFile(Repository.path("Tests/EndToEndTests/ClientExample.swift"))
        let lines = file.components(separatedBy: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        let start = try #require(lines.firstIndex(of: "// example:start"))
        let end = try #require(lines.firstIndex(of: "// example:end"))
        let compiled = lines[start + 1..<end].map { $0.replacing("static func", with: "func") }
        let shown = block.lines.map { $0.trimmingCharacters(in: .whitespaces) }
        #expect(shown.first == "let client = RateLimitClient()" && Array(shown.dropFirst(2)) == compiled)
    }

    @Test("What Protocol shows of the pages while Redis hangs is what they say")
    func hanging() throws {
        let page = try Page.named("Protocol")
        let daemon = try daemon(for: page, ["REDIS_TIMEOUT_MS": "50"])
        let client = try daemon.connect()
        redis.stop()
        defer { redis.resume() }
        func isAway() throws -> Bool { try client.request("GET", "/readyz?require=redis").text.contains("in time") }
        #expect(try eventually(within: 20) { try client.check(newUser()).isDegraded && isAway() })
        let shown = page.blocks.filter { $0.language == "json" }.map(\.text)
        for (path, part) in [("/healthz", "\"state\":\"away\""), ("/readyz?require=redis", "Redis is away")] {
            let block = try #require(shown.first { $0.contains(part) })
            compare(block, try client.request("GET", path).text, path)
        }
    }

    @Test("The answers that Protocol and the README show are those of a daemon, but for the instants")
    func answers() throws {
        let page = try Page.named("Protocol")
        let shown = page.blocks.filter { $0.language == "http" && $0.text.hasPrefix("HTTP/1.1") }.map(\.text)
        let daemon = try daemon(for: page)
        let user = newUser()
        func answer(_ daemon: Daemon, cost: Int, user: String = user) throws -> String {
            let response = try daemon.connect().check(user, cost: cost)
            let phrases = [200: "OK", 429: "Too Many Requests", 503: "Service Unavailable"]
            let headers = response.headers.map { "\($0.name): \($0.value)" }.joined(separator: "\n")
            return "HTTP/1.1 \(response.status) \(phrases[response.status] ?? "")\n\(headers)\n\(response.text)"
        }
        var real = [try answer(daemon, cost: 1)]
        _ = try daemon.connect().check(user, cost: 19)
        real += [try answer(daemon, cost: 1), try answer(daemon, cost: 21)]
        let denied = real[1]
        let older = try Daemon(redis: redis.url, ["HEADERS": "x"])
        real.append(try answer(older, cost: 1, user: newUser()))
        let closed = try Daemon(redis: "unix:///nonexistent/redis", ["FAILURE_MODE": "closed"])
        real.append(try answer(closed, cost: 1))
        #expect(shown.count == real.count)
        for (shown, real) in zip(shown, real) { compare(shown, real, "Protocol") }

        let annotated = try #require(Page.readme.blocks.first { $0.text.hasPrefix("HTTP/1.1") })
        let lines = annotated.lines.map { $0.components(separatedBy: "<-")[0].trimmingCharacters(in: .whitespaces) }
        let head = lines.filter { !$0.hasPrefix("\"") && !$0.hasPrefix("{") }
        let body = lines.filter { $0.hasPrefix("\"") || $0.hasPrefix("{") }.joined()
        let known = form(denied).components(separatedBy: "\n").filter { !$0.hasPrefix("Content-Type") }
        #expect(form(head.joined(separator: "\n") + "\n" + body) == known.joined(separator: "\n"))
    }
}
