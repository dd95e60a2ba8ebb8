import Foundation
import RateLimitCore
import TestSupport
import Testing

@testable import LoadGenerator
@testable import RateLimitService

@Suite("The figures of the pages")
struct FigureTests {
    /// A cell's number in thousandths, and how many places it shows.
    private func number(_ cell: String) throws -> (thousandths: Int, places: Int) {
        let text = try #require(matches(of: "([0-9][0-9,]*(?:\\.[0-9]+)?)", in: cell).first, "\(cell)")
        let parts = text.filter { $0 != "," }.components(separatedBy: ".")
        let places = parts.count > 1 ? parts[1].count : 0
        let fraction = (parts.count > 1 ? parts[1] : "").padding(toLength: 3, withPad: "0", startingAt: 0)
        return (Int(parts[0] + fraction) ?? -1, places)
    }

    /// Whether the first number is the second, rounded to the places that the first shows.
    private func isRounded(_ short: String, from long: String) throws -> Bool {
        let (shown, places) = try number(short)
        let unit = [1_000, 100, 10, 1][places]
        return try abs(shown - number(long).thousandths) * 2 <= unit
    }

    /// The rows of the README's table, and their names in Performance's.
    private static let names = [
        "through the daemon, 1": "daemon, 1", "the same script straight in Redis, 1": "direct, 1",
        "through the daemon, 64": "daemon, 64", "straight in Redis, 64": "direct, 64",
        "a raw epoll program in C, 64": "raw epoll, 64", "denials from memory, 64": "denials, 64",
        "under three limits of a file, 64": "3 limits", "one user with 100,000 admissions, 64": "100,000 admissions",
    ]

    @Test("The README's benchmark is that of Performance")
    func benchmark() throws {
        let short = try #require(Page.readme.marked("bench"))
        let long = try #require(try Page.named("Performance").marked("bench"))
        let rows = long.tables.filter { $0.header.contains("checks/s") }.flatMap(\.rows)
        let table = try #require(short.table(with: "checks/s"))
        #expect(!table.rows.isEmpty)
        for row in table.rows {
            let name = try #require(Self.names[row[0]], "\(row[0])")
            let full = try #require(rows.first { $0[0] == name }, "\(name)")
            // Rate, p50, p99, the daemon's CPU and Redis's stand in these columns of the two.
            for (here, there) in [(1, 1), (2, 2), (3, 3), (4, 5), (5, 6)] where !row[here].isEmpty {
                #expect(try isRounded(row[here], from: full[there]), "\(name): \(row[here]) of \(full[there])")
            }
        }
        let date = matches(of: "(\\d{4}-\\d\\d-\\d\\d)", in: long.text).first
        #expect(matches(of: "(\\d{4}-\\d\\d-\\d\\d)", in: short.text) == [date])

        let targets = try #require(long.table(with: "to reach"))
        func measured(_ name: String) -> String { targets.rows.first { $0[0] == name }?[2] ?? "" }
        let shown = matches(of: "([0-9.]+) times the direct calls' rate for ([0-9.]+) of", in: short.prose)
        #expect(try isRounded(try #require(shown.first), from: measured("checks/s, daemon : direct, at 64")))
        for (pattern, name) in [
            ("for ([0-9.]+) of their Redis CPU", "Redis CPU, daemon : direct, at 64"),
            ("takes ([0-9.]+) times the C", "daemon CPU : raw epoll CPU, at 64"),
            ("RSS ([0-9.]+) MiB", "RSS at 256 connections, MiB"),
        ] {
            let text = try #require(matches(of: pattern, in: short.prose).first, "\(pattern)")
            #expect(try isRounded(text, from: measured(name)), "\(name): \(text)")
        }
        let missed = targets.rows.first { $0[0] == "daemon CPU : raw epoll CPU, at 64" }?[3] ?? ""
        #expect(!missed.hasPrefix("missed") || short.prose.contains(missed))
    }

    @Test("What the README says of a Redis that answers is the benchmark's median at one client")
    func median() throws {
        let told = matches(of: "the exact decision \\| ([0-9]+) µs", in: Page.readme.text)
        let table = try #require(Page.readme.marked("bench")?.table(with: "p50 µs"))
        #expect(told == [table.rows[0][2]])
    }

    @Test("The README's picture has the digest that Redis knows the script by")
    func digest() throws {
        let digest = try #require(try RedisServer().command("SCRIPT", "LOAD", DecisionScript.text).text)
        let shown = matches(of: "EVALSHA ([0-9a-f]+)…", in: Page.readme.text)
        #expect(shown == [String(digest.prefix(4))])
    }

    @Test("The scripts are as large as the pages say")
    func sizes() throws {
        func kilobytes(_ text: String) -> String {
            "\((text.utf8.count + 50) / 1_000).\((text.utf8.count + 50) / 100 % 10)"
        }
        let script = kilobytes(DecisionScript.text)
        #expect(matches(of: "script has ([0-9.]+) kB of text", in: try Page.named("Window").prose) == [script])
        let access = try Page.named("TLSAndAccess").text
        #expect(matches(of: "([0-9.]+) kB more for each batch", in: access) == [script])
    }

    @Test("The script keeps as much in the bundle as Window says, and begins to merge where it says")
    func constants() throws {
        let window = try Page.named("Window").prose
        let entries = try #require(Int(matches(of: "\\(([0-9]+) entries of 8 bytes\\)", in: window).first ?? ""))
        // Both paths have them: the hot one, and the functions for what it leaves.
        let (names, values) = ("local SMALL, HOME, EXACT, SLACK, INLINE", "\(entries * 8), 64, 1024, 256, 16")
        for constants in ["\(names), HOUR = \(values), 3600000", "\(names), REAPED, HOUR = \(values), 10000, 3600000"] {
            #expect(DecisionScript.text.contains(constants), "\(constants)")
        }
        #expect(window.contains("of 16 leases"))
        for text in ["The newest 1,024", "256 entries at the front are dead", "1,280 stand unmerged"] {
            #expect(window.replacing("\n", with: " ").contains(text), "\(text)")
        }
    }
}

@Suite("What the benchmark says it does")
struct BenchmarkTests {
    @Test("Redis alone is asked what the daemon asks")
    func plan() {
        let limit = Limit(name: "requests", quota: 20, windowMilliseconds: 3_600_000)
        let script = CheckScript(sha: "", limit: 20, windowMilliseconds: 3_600_000)
        let arguments = script.arguments(cost: 3)
        #expect(arguments[..<2] == [[0], [3, 0, 0, 0, 0, 0]])
        let plan = arguments[2]
        let bulk = Array("$\(plan.count)\r\n".utf8) + plan + Array("\r\n".utf8)
        #expect(DecisionPlan(checksUnder: limit).argument == bulk)
        // That of the C program has the same length.
        let program = readFile(Repository.path("Sources/raw-epoll-floor/main.c"))
        #expect(matches(of: "unsigned char plan\\[([0-9]+)\\]", in: program) == ["\(plan.count)"])
    }

    @Test("Redis alone is measured with the files of the script that the daemon sends, in their order")
    func script() throws {
        let text = try #require(Repository.texts["scripts/bench"])
        let files = matches(of: "(decide[a-z-]*\\.lua)[^\"]", in: text).map { name in
            readFile(Repository.path("Sources/RateLimitService/Scripts/\(name)"))
        }
        #expect(files.joined() == String(decoding: DecisionScript.files, as: UTF8.self))
    }

    @Test(
        "A reservation of its load holds the tokens and the slot that its table names, and its settlement charges them")
    func reservation() throws {
        let text = try Page.named("Performance").text
        let held = try #require(matches(of: "reserve \\+ settle: ([0-9,]+) tokens and a slot held", in: text).first)
        let charged = try #require(matches(of: "slot held, ([0-9,]+) charged", in: text).first)
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        let limits = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 1000}
            """
        let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": try folder.write(limits, to: "limits")])
        let client = try daemon.connect()
        let users = try Users(count: 1)
        func used() throws -> [Int] {
            let limits = try client.request("GET", "/v1/users/\(users[0])/usage").json["limits"] as? [[String: Any]]
            return ["tokens", "calls"].map { name in
                limits?.first { $0["name"] as? String == name }?["used"] as? Int ?? -1
            }
        }
        let length = try #require(try DaemonSession(to: Endpoint(daemon.socketPath)).leaseLength(users))
        let first = try used()
        #expect(first == [Int(held.filter { $0 != "," }), 1])
        let load = try Load(
            target: Endpoint(daemon.socketPath),
            traffic: .httpReservations(CheckMix(users: users), leaseLength: length), connections: 1,
            warmUpMilliseconds: 0, length: .checks(10))
        let report = try load.run()
        #expect(report.tally.allowed == report.tally.count && report.lostConnections == 0)
        let settled = try #require(Int(charged.filter { $0 != "," }))
        // What was answered last may have been settled or not when the load ended.
        let calls = try used()[0] - first[0]
        #expect(calls >= 10 * settled && calls <= 12 * 1_000)
    }
}
