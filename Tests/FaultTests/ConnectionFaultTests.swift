import TestSupport
import Testing

extension FaultMatrix {
    /// What happens on the way to Redis.
    @Suite("The connection")
    struct ConnectionFaultTests {
        let redis: RedisServer
        let proxy: FaultProxy
        let daemon: Daemon

        init() throws {
            redis = try RedisServer()
            proxy = try FaultProxy(to: redis)
            daemon = try FaultMatrix.startDaemon(proxy.url)
        }

        private func row(_ fault: Fault, _ reasons: Set<String>, logLines: Int = 4) -> FaultRow {
            FaultRow(fault: fault, daemons: [daemon], reasons: reasons, logLines: logLines)
        }

        private func run(_ row: FaultRow, _ fault: FaultProxy.Fault, milliseconds: Int = 500) throws {
            try row.run {
                proxy.set(fault)
                if case .deafToNewConnections = fault { proxy.cut() }
                pause(milliseconds: milliseconds)
            } remove: {
                proxy.set(.none)
            }
        }

        @Test("Replies are cut in half, on every connection")
        func cutReply() throws { try run(row(.cutReply, ["redis_unreachable"]), .cutReplies) }

        @Test("A reply never comes on a connection that stays up")
        func silence() throws {
            // The connection is given up after a second of silence: the fault needs no removal.
            try row(.silence, ["redis_timeout"]).run { proxy.freeze() }
        }

        @Test("What comes is no RESP, of several kinds")
        func garbage() throws {
            let kinds = [
                "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "\u{0}\u{1}\u{2}", "*-5\r\n", "$x\r\n",
            ]
            try row(.garbage, ["redis_unreachable"]).run {
                for kind in kinds {
                    proxy.set(.replaceReplies(Array(kind.utf8)))
                    pause(milliseconds: 150)
                }
            } remove: {
                proxy.set(.none)
            }
        }

        @Test("Replies come that are none to what was asked")
        func strayReplies() throws {
            // Nobody is told another's decision: the first one that is no answer ends the connection.
            let row = row(.strayReplies, ["redis_unreachable", "redis_error"], logLines: 30)
            try run(row, .replaceReplies(Array(":1\r\n:2\r\n:3\r\n".utf8)))
        }

        @Test("No reply is taken for another's where one comes that nothing had asked for")
        func repliesOutOfStep() throws {
            let daemon = try FaultMatrix.startDaemon(proxy.url, ["REDIS_TIMEOUT_MS": "5000", "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let denied = newUser()
            while try client.check(denied).status == 200 {}
            let others = [denied, newUser(), newUser()]
            // Four batches are under way on one connection: each would be given the reply of the one before it.
            redis.stop()
            for user in [newUser()] + others {
                #expect(try client.send(HTTPConnection.checkText(user)))
                pause(milliseconds: 30)
            }
            proxy.set(.precedeReplies(Array(":1\r\n".utf8)))
            pause(milliseconds: 100)
            redis.resume()
            let answers = try (0..<4).map { _ in try client.response() }
            #expect(
                answers.allSatisfy { $0.status == 200 && $0.isDegraded },
                "\(answers.map { ($0.status, $0.degradedReason) })")
            proxy.set(.none)
            #expect(try eventually(within: 60) { try !client.check(newUser()).isDegraded })
            #expect(try client.check(denied).status == 429)
        }

        @Test("No budget is taken for another's where a reply comes that nothing had asked for")
        func budgetsOutOfStep() throws {
            let folder = try TemporaryFolder()
            let file = "limits: [{name: team, per: group, unit: requests, quota: 100, window: 1h}]"
            let path = try folder.write(file, to: "limits.yaml")
            let daemon = try FaultMatrix.startDaemon(
                proxy.url, ["REDIS_TIMEOUT_MS": "5000", "GROUPS": "given", "LIMITS_FILE": path])
            let client = try daemon.connect()
            let user = newUser()
            let groups = (0..<4).map { _ in newUser() }
            func call(_ group: String) -> String { #"{"user":"\#(user)","groups":["\#(group)"]}"# }
            let blocked = "/v1/groups/\(groups[1])/budget"
            #expect(try daemon.connectAdmin().request("PUT", blocked, body: #"{"limits":{"team":0}}"#).status == 200)
            #expect(try client.request("POST", "/v1/check", body: call(newUser())).status == 200)
            // The budget of each group is read on one connection: each would be given that of the one before it.
            redis.stop()
            for group in groups {
                #expect(try client.send(HTTPConnection.text("POST", "/v1/check", body: call(group))))
                pause(milliseconds: 30)
            }
            proxy.set(.precedeReplies(Array(":1\r\n".utf8)))
            pause(milliseconds: 100)
            redis.resume()
            for _ in groups { #expect(try client.response().isDegraded) }
            proxy.set(.none)
            // What was read then is remembered, if anything was.
            let asked = try groups.map { group in
                var response = try client.request("POST", "/v1/check", body: call(group))
                for _ in 0..<1_000 where response.isDegraded {
                    pause(milliseconds: 10)
                    response = try client.request("POST", "/v1/check", body: call(group))
                }
                return response.status
            }
            #expect(asked == [200, 429, 200, 200])
        }

        @Test("A reply of which the end never comes")
        func endlessReply() throws {
            let start = Array("*3\r\n$2000000\r\n".utf8) + [UInt8](repeating: 0x78, count: 60_000)
            try run(row(.endlessReply, ["redis_timeout", "redis_unreachable"]), .replaceReplies(start))
        }

        @Test("New connections are accepted and never answered")
        func deaf() throws {
            try run(row(.deaf, ["redis_timeout", "redis_unreachable"]), .deafToNewConnections, milliseconds: 700)
        }

        @Test("A slow and lossy way", arguments: [5.0, 20, 100])
        func latency(milliseconds: Double) throws {
            let (fault, jitter): (Fault, Double) =
                switch milliseconds {
                case 5: (.latency5, 3)
                case 20: (.latency20, 10)
                default: (.latency100, 30)
                }
            // Each loss is an outage of its own; back-off keeps them from being told too often.
            let row = row(fault, ["redis_timeout"], logLines: 40)
            let latency = FaultProxy.Latency(
                roundTripMilliseconds: milliseconds, jitterMilliseconds: jitter, lossPercent: 1
            )
            try run(row, .latency(latency), milliseconds: 1_500)
        }
    }
}
