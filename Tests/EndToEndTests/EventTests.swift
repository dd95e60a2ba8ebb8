import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Events about thresholds")
    struct EventTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        /// The settings of a daemon with one limit of calls.
        private func settings(
            quota: Int, window: String = "1h", per: String = "user", _ more: [String: String] = [:]
        ) throws -> [String: String] {
            let limits = """
                limits:
                  - {name: calls, per: \(per), unit: requests, quota: \(quota), window: \(window), warn_at: [0.5, 0.8]}
                """
            return ["LIMITS_FILE": try folder.write(limits, to: "limits.yaml"), "REQUESTS": "0"].merging(more) { $1 }
        }

        private func events(_ daemon: Daemon) throws -> [[String: Any]] {
            try daemon.connectAdmin().request("GET", "/v1/events").json["events"] as? [[String: Any]] ?? []
        }

        private func delivered(_ daemon: Daemon, _ outlet: String, _ result: String = "delivered") throws -> Double? {
            try daemon.metric("llm_rate_limit_events_total{outlet=\"\(outlet)\",result=\"\(result)\"}")
        }

        @Test(
            "Four daemons and 64 clients cross each threshold of one user once: in the log, the stream and the webhook",
            arguments: ["1h", "{calendar: month}", "{lifetime: true, idle: 1h}"])
        func once(window: String) throws {
            let receiver = try HTTPReceiver()
            let settings = try settings(
                quota: 300, window: window, ["EVENTS_WEBHOOK": receiver.url(), "LOG_USERS": "plain"])
            let daemons = try (0..<4).map { _ in try Daemon(redis: redis.url, settings) }
            let user = newUser()
            let allowed = try concurrently(64) { index in
                let client = try daemons[index % 4].connect()
                return try (0..<6).count { _ in try client.check(user).isAllowed }
            }
            #expect(allowed.reduce(0, +) == 300)
            #expect(try eventually(within: 20) { try events(daemons[0]).count >= 3 && receiver.requests.count >= 3 })
            // Whatever is told once too often is on its way by then.
            for daemon in daemons { #expect(try daemon.connect().check(user).status == 429) }
            pause(milliseconds: 300)
            let told = try events(daemons[1])
            #expect(told.map { $0["amount"] as? Int } == [150, 240, 300])
            #expect(told.map { $0["used"] as? Int } == [150, 240, 300])
            #expect(told.map { $0["threshold"] as? String } == ["warning", "warning", "quota"])
            #expect(told.allSatisfy { $0["user_id"] as? String == user && $0["quota"] as? Int == 300 })
            let ids = told.map { $0["id"] as? String ?? "" }
            #expect(Set(ids).count == 3)
            let posted = try receiver.requests.map { try $0.json }
            #expect(posted.count == 3 && Set(posted.map { $0["id"] as? String ?? "" }) == Set(ids))
            for event in posted {
                let same = try #require(told.first { $0["id"] as? String == event["id"] as? String })
                #expect(NSDictionary(dictionary: same.filter { $0.key != "cursor" }) == NSDictionary(dictionary: event))
            }
            let lines = daemons.flatMap { $0.logLines(containing: "a threshold was crossed") }
            #expect(
                lines.count == 3 && ids.allSatisfy { id in lines.contains { $0.contains(id) && $0.contains(user) } })
            let sums = try ["log", "stream", "webhook"].map { outlet in
                try daemons.reduce(0) { try $0 + (delivered($1, outlet) ?? 0) }
            }
            #expect(sums == [3, 3, 3])
        }

        @Test("The webhook is told each event once though it fails, hangs and goes away, in their order")
        func webhook() throws {
            let receiver = try HTTPReceiver { _, number in
                switch number {
                case 0: .status(500)
                case 1: .half
                case 2: .close
                default: .status(200)
                }
            }
            let secret = try folder.write("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", to: "secret")
            let settings = try settings(
                quota: 10, ["EVENTS_WEBHOOK": receiver.url("/hook?token=s3cret"), "EVENTS_WEBHOOK_SECRET_FILE": secret])
            let daemon = try Daemon(redis: redis.url, settings)
            let client = try daemon.connect()
            for _ in 0..<10 { #expect(try client.check("ada").isAllowed) }
            #expect(try eventually(within: 60) { try delivered(daemon, "webhook") == 3 })
            let ids = try events(daemon).compactMap { $0["id"] as? String }
            #expect(receiver.requests.map { $0.header("webhook-id") ?? "" } == [ids[0], ids[0], ids[0]] + ids)
            #expect(receiver.requests.allSatisfy { $0.header("webhook-signature")?.hasPrefix("v1,") == true })
            #expect(daemon.logLines(containing: "cannot deliver events").count == 1)
            #expect(eventually(within: 10) { daemon.logLines(containing: "events are delivered again").count == 1 })

            receiver.stop()
            for _ in 0..<10 { #expect(try client.check("bob").isAllowed) }
            #expect(
                try eventually(within: 20) {
                    try daemon.metric("llm_rate_limit_events_waiting{outlet=\"webhook\"}") == 3
                })
            // What waits keeps nobody from being decided and told elsewhere.
            #expect(try eventually(within: 20) { try delivered(daemon, "stream") == 6 })
            try receiver.start()
            #expect(try eventually(within: 60) { try delivered(daemon, "webhook") == 6 })
            #expect(
                receiver.requests.suffix(3).compactMap { $0.header("webhook-id") } == Array(try eventIDs(daemon)[3...]))
            #expect(try delivered(daemon, "webhook", "lost") == 0)
            #expect(!daemon.process.errors.contains("s3cret"))
            #expect(try !daemon.connect().request("GET", "/v1/config").text.contains("s3cret"))
        }

        private func eventIDs(_ daemon: Daemon) throws -> [String] {
            try events(daemon).compactMap { $0["id"] as? String }
        }

        @Test("What waits when the daemon is stopped is told before it ends")
        func stopped() throws {
            let receiver = try HTTPReceiver { _, number in
                number == 0 ? .status(503, ["Retry-After": "300"]) : .status(204)
            }
            let daemon = try Daemon(redis: redis.url, try settings(quota: 2, ["EVENTS_WEBHOOK": receiver.url()]))
            let client = try daemon.connect()
            for _ in 0..<2 { _ = try client.check("ada") }
            #expect(eventually(within: 20) { receiver.requests.count == 1 })
            #expect(try daemon.terminate() == 0)
            // A half and four fifths of 2 are 1 and 2; the quota is 2 as well.
            let ids = receiver.requests.compactMap { $0.header("webhook-id") }
            #expect(ids.count == Set(ids).count + 1 && ids[0] == ids[1])
            #expect(daemon.logLines(containing: "events are lost").isEmpty)
        }

        @Test("A receiver that hangs does not keep the daemon from ending, which says what is lost")
        func hangs() throws {
            let receiver = try HTTPReceiver { _, _ in .silence }
            let daemon = try Daemon(redis: redis.url, try settings(quota: 10, ["EVENTS_WEBHOOK": receiver.url()]))
            let client = try daemon.connect()
            for _ in 0..<10 { _ = try client.check("ada") }
            #expect(eventually(within: 20) { receiver.requests.count == 1 })
            #expect(try daemon.terminate() == 0)
            let line = try #require(daemon.logLines(containing: "events are lost: the daemon ends").first)
            #expect(line.contains(#""outlet":"webhook""#) && line.contains(#""lost":"3""#), "\(line)")
        }

        @Test("A reload has events posted elsewhere from then on, and those that wait, too")
        func reload() throws {
            let first = try HTTPReceiver { _, _ in .status(500) }
            let second = try HTTPReceiver()
            let variables = folder.file("env")
            func write(_ url: String) throws {
                _ = try folder.write("LLM_RATE_LIMIT_EVENTS_WEBHOOK=\(url)\n", to: "env")
            }
            try write(first.url())
            let daemon = try Daemon(redis: redis.url, try settings(quota: 10, ["ENV_FILE": variables]))
            let client = try daemon.connect()
            for _ in 0..<10 { _ = try client.check("ada") }
            #expect(eventually(within: 20) { !first.requests.isEmpty })
            try write(second.url())
            try daemon.reload()
            #expect(eventually(within: 60) { second.requests.count == 3 })
            #expect(second.requests.compactMap { $0.header("webhook-id") } == (try eventIDs(daemon)))
            try write("")
            try daemon.reload()
            for _ in 0..<10 { _ = try client.check("bob") }
            #expect(try eventually(within: 20) { try delivered(daemon, "stream") == 6 })
            #expect(second.requests.count == 3)
        }

        @Test(
            "The log names the user as LOG_USERS says, and the values with plain alone",
            arguments: ["plain", "hash", "none"])
        func log(users: String) throws {
            let settings = try settings(quota: 2, per: "[user, label:session]", ["LOG_USERS": users])
            let daemon = try Daemon(redis: redis.url, settings)
            let body = #"{"user":"ada.lovelace","labels":{"session":"s-4711"}}"#
            for _ in 0..<2 { _ = try daemon.connect().request("POST", "/v1/check", body: body) }
            #expect(eventually(within: 20) { !daemon.logLines(containing: "a threshold was crossed").isEmpty })
            let line = try #require(daemon.logLines(containing: "a threshold was crossed").first)
            #expect(
                line.contains("ada.lovelace") == (users == "plain") && line.contains("s-4711") == (users == "plain"))
            #expect(line.contains(#""user_id":"#) == (users != "none") && line.contains(#""level":"notice""#))
            #expect(try events(daemon).first?["values"] as? String == "label:session=s-4711")
        }
    }
}

extension EndToEnd {
    @Suite("The command events")
    struct EventsCommandTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        private func start(_ arguments: [String], on daemon: Daemon) throws -> ChildProcess {
            try ChildProcess(
                Daemon.program, ["events"] + arguments,
                environment: ["LLM_RATE_LIMIT_ADMIN_SOCKET": daemon.adminSocketPath])
        }

        /// Writes an event into the stream, as a daemon does.
        private func write(_ number: Int) throws {
            let id = String(repeating: "0", count: 28) + String(1_000 + number)
            let last = try redis.command("XREVRANGE", "llm-rate:events", "+", "-", "COUNT", "1").elements.first
            try redis.connect().command([
                "XADD", "llm-rate:events", "*", "previous", last?.elements.first?.text ?? "", "id", id, "at",
                "1795860000123", "limit", "calls",
                "unit", "requests", "mode", "enforce", "per", "user", "user", "ada", "threshold", "quota", "share",
                "1000",
                "amount", "5", "quota", "5", "used", "5", "window", "3600000",
            ])
        }

        @Test("lists what there is, page by page, in words or as JSON, and goes on behind a cursor")
        func list() throws {
            let daemon = try Daemon(redis: redis.url)
            let none = try start([], on: daemon)
            #expect(try none.wait() == 0 && none.output.isEmpty && none.errors.isEmpty)
            for number in 0..<230 { try write(number) }
            let words = try start([], on: daemon)
            #expect(try words.wait() == 0)
            #expect(words.output.split(separator: "\n").allSatisfy { $0.count <= 80 })
            #expect(words.output.components(separatedBy: "the quota crossed, 5 of 5 requests used").count == 231)
            let json = try start(["--json"], on: daemon)
            #expect(try json.wait() == 0)
            let lines = json.output.split(separator: "\n")
            let numbers = try lines.map { line in
                let event = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                return Int((event?["id"] as? String ?? "").suffix(4)) ?? 0
            }
            #expect(numbers == Array(1_000..<1_230))
            let event = try JSONSerialization.jsonObject(with: Data(lines[226].utf8)) as? [String: Any]
            let cursor = try #require(event?["cursor"] as? String)
            let rest = try start(["--json", "--cursor", cursor], on: daemon)
            #expect(try rest.wait() == 0)
            #expect(rest.output.split(separator: "\n").map(String.init) == lines[227...].map(String.init))
        }

        @Test("follows through a restart of the daemon, each event once, until it is interrupted")
        func follow() throws {
            let daemon = try Daemon(redis: redis.url)
            try write(0)
            let follower = try start(["--follow", "--json"], on: daemon)
            func count() -> Int { follower.output.split(separator: "\n").count }
            #expect(eventually(within: 20) { count() == 1 })
            try write(1)
            #expect(eventually(within: 20) { count() == 2 })
            daemon.kill()
            #expect(eventually(within: 20) { follower.errors.contains("cannot ") })
            try write(2)
            try daemon.restart()
            #expect(eventually(within: 20) { count() == 3 })
            // What is wrong is told when it changes, and not at each try.
            let told = follower.errors.split(separator: "\n")
            #expect(Set(told).count == told.count && follower.exitCode == nil, "\(told)")
            let ids = follower.output.split(separator: "\n").compactMap { line in
                line.components(separatedBy: #""id":""#).last?.prefix(32)
            }
            #expect(Set(ids).count == 3)
            follower.send(SIGINT)
            #expect(try follower.wait() == 0)
        }

        @Test("ends when nobody reads what it tells any more")
        func brokenPipe() throws {
            let daemon = try Daemon(redis: redis.url)
            try write(0)
            let shell = try ChildProcess(
                "bash", ["-c", "\"$0\" events --follow --json | head -1; echo ${PIPESTATUS[0]}", Daemon.program],
                environment: ["LLM_RATE_LIMIT_ADMIN_SOCKET": daemon.adminSocketPath])
            #expect(try shell.wait(seconds: 20) == 0)
            let lines = shell.output.split(separator: "\n")
            #expect(lines.count == 2 && lines.last == "0" && shell.errors.isEmpty, "\(shell.output) \(shell.errors)")
        }

        @Test("says why where there is no answer")
        func troubles() throws {
            let daemon = try Daemon(redis: redis.url, ["REDIS_TIMEOUT_MS": "200"])
            redis.stop()
            let away = try start([], on: daemon)
            #expect(
                try away.wait() == 1 && away.output.contains("unknown: What is kept cannot be read: redis_timeout."))
            redis.resume()
            daemon.kill()
            let gone = try start([], on: daemon)
            #expect(try gone.wait() == 2 && gone.errors.hasPrefix("Error: cannot reach the daemon at"))
        }
    }
}
