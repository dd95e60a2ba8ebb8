import Foundation
import TestSupport
import Testing

/// The configurations that reserve before a call and settle with what it took.
@Suite("Gateways that settle", .serialized, .needs("nginx", "haproxy"))
struct SettlementTests {
    /// What the model's answers say that they took.
    private static let told = ["tokens": 980, "input": 900, "output": 80]

    private static let oneAtATime = "\n  - {name: calls, per: user, unit: concurrency, quota: 1}"

    private func setting(_ door: Door, _ more: String = "") throws -> GatewaySetting {
        try GatewaySetting(door, limits: GatewaySetting.limits + more, ["REQUESTS": "1000"])
    }

    private func expectUsed(_ expected: [String: Int], _ setting: GatewaySetting, _ user: String, _ what: String) throws
    {
        func used() throws -> [String: Int] { try setting.used(user).filter { $0.key != "requests" } }
        let isReached = try eventually(within: 10) { try used() == expected }
        let found = try used()
        #expect(isReached, "\(what): \(found)")
    }

    @Test("What an answer or a stream tells that it took is charged", arguments: Door.settling)
    func told(door: Door) throws {
        let setting = try setting(door)
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
            var user = newUser()
            let response = try setting.call(user, path: path)
            #expect(response.status == 200 && response["RateLimit"]?.contains("r=999") == true, "\(response)")
            try expectUsed(Self.told, setting, user, path)

            user = newUser()
            let text = try setting.stream(user, path: path, #""stream_options":{"include_usage":true}"#)
            #expect(
                text.contains(" 200 ") && text.contains("usage") && text.hasSuffix("0\r\n\r\n"), "\(text.suffix(200))")
            try expectUsed(Self.told, setting, user, "a stream of \(path)")
            #expect(try setting.used(user)["requests"] == 1)
        }
    }

    @Test("A stream that the client cuts is charged the estimate that was held", arguments: Door.settling)
    func cut(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        for _ in 0..<4 { #expect(try setting.call(user).status == 200) }
        try expectUsed(["tokens": 3_920, "input": 3_600, "output": 320], setting, user, "four calls")
        let text = try setting.stream(user, #""slow":true,"stream_options":{"include_usage":true}"#, until: "delta")
        #expect(!text.hasSuffix("0\r\n\r\n"))
        let expected = ["tokens": 4_900, "input": 4_500, "output": 400]
        try expectUsed(expected, setting, user, "a cut stream")
    }

    @Test(
        "A stream that is cut, or tells nothing, costs something where no estimate is known", arguments: Door.settling)
    func unknown(door: Door) throws {
        let setting = try setting(door)
        var user = newUser()
        _ = try setting.stream(user, "", until: nil)
        // Forty events and the end; and the bytes of the request by four.
        #expect(try eventually(within: 10) { try setting.used(user)["output"] == 41 })
        let input = try setting.used(user)["input"] ?? 0
        #expect(input >= 20)
        user = newUser()
        _ = try setting.stream(user, #""slow":true"#, until: "delta")
        #expect(try eventually(within: 10) { try setting.used(user)["tokens"] ?? 0 >= 20 })
    }

    @Test("A call that the model refuses costs nothing, and frees its slot", arguments: Door.settling)
    func refused(door: Door) throws {
        let setting = try setting(door, Self.oneAtATime)
        let user = newUser()
        for status in [400, 429, 500] {
            #expect(try setting.call(user, #""status":\#(status)"#).status == status)
            try expectUsed(["tokens": 0, "input": 0, "output": 0, "calls": 0], setting, user, "\(status)")
            #expect(try setting.used(user)["requests"] == 0)
        }
    }

    @Test("A call at capacity is 429 with Retry-After", arguments: Door.settling)
    func capacity(door: Door) throws {
        let setting = try setting(door, Self.oneAtATime)
        let user = newUser()
        let held = try setting.daemon.connect().request(
            "POST", "/v1/reserve", body: #"{"user":"\#(user)","model":"gpt-4o"}"#)
        #expect(held.status == 200)
        let denied = try setting.call(user)
        #expect(denied.status == 429 && denied["Retry-After"] != nil, "\(denied)")
    }

    @Test("A stream that the model breaks off is charged the estimate that was held", arguments: Door.settling)
    func broken(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        for _ in 0..<4 { #expect(try setting.call(user).status == 200) }
        try expectUsed(["tokens": 3_920, "input": 3_600, "output": 320], setting, user, "four calls")
        let text = try setting.stream(user, #""breaks":true"#)
        #expect(text.contains("delta") && !text.hasSuffix("0\r\n\r\n"))
        try expectUsed(["tokens": 4_900, "input": 4_500, "output": 400], setting, user, "a broken stream")
    }

    @Test("A call whose client goes away before the answer is charged, and frees its slot", arguments: Door.settling)
    func abandoned(door: Door) throws {
        let setting = try setting(door, Self.oneAtATime)
        let user = newUser()
        #expect(try setting.call(user).status == 200)
        try expectUsed(Self.told.merging(["calls": 0]) { $1 }, setting, user, "a call")
        var socket: StreamSocket? = try setting.begin(user, #""wait":2"#)
        #expect(try eventually(within: 10) { try setting.used(user)["calls"] == 1 })
        withExtendedLifetime(socket) {}
        socket = nil
        let both = ["tokens": 1_960, "input": 1_800, "output": 160, "calls": 0]
        try expectUsed(both, setting, user, "a call that nobody waited for")
    }

    @Test("Where the model is away a call costs nothing, and frees its slot", arguments: Door.settling)
    func modelAway(door: Door) throws {
        let setting = try setting(door, Self.oneAtATime)
        let user = newUser()
        setting.endModel()
        for _ in 0..<2 {
            #expect([502, 503].contains(try setting.call(user).status))
            try expectUsed(["tokens": 0, "input": 0, "output": 0, "calls": 0], setting, user, "without a model")
        }
    }

    @Test(
        "Of twenty calls at once as many pass as the limit has, and each is charged what it took",
        arguments: Door.settling)
    func concurrent(door: Door) throws {
        let more = "\n  - {name: calls, per: user, unit: concurrency, quota: 100}"
        let setting = try GatewaySetting(door, limits: GatewaySetting.limits + more, ["REQUESTS": "12"])
        let user = newUser()
        let sockets = try (0..<20).map { number in
            try setting.begin(
                user, number.isMultiple(of: 2) ? "" : #""stream":true,"stream_options":{"include_usage":true}"#)
        }
        let texts = try sockets.map { socket in
            var received: [UInt8] = []
            while let bytes = try socket.receive(), !bytes.isEmpty { received += bytes }
            return String(decoding: received, as: UTF8.self)
        }
        #expect(texts.filter { $0.hasPrefix("HTTP/1.1 200 ") }.count == 12)
        #expect(texts.filter { $0.hasPrefix("HTTP/1.1 429 ") }.count == 8)
        let all = ["tokens": 12 * 980, "input": 12 * 900, "output": 12 * 80, "calls": 0]
        try expectUsed(all, setting, user, "twelve calls")
    }

    @Test(
        "A long call passes as it is, and is charged to the model that it names at its end",
        arguments: Door.settling)
    func long(door: Door) throws {
        let more = "\n  - {name: of-model, per: user, unit: tokens, quota: 1000000, window: 1h, match: {model: gpt-4o}}"
        let setting = try setting(door, more)
        let padding = String(repeating: "long ", count: 60_000)
        let user = newUser()
        let response = try setting.connect().request(
            "POST", "/v1/chat/completions", ["X-User-Id": user],
            body: #"{"messages":["\#(padding)"],"model":"gpt-4o"}"#)
        #expect(response.status == 200 && response.text.contains("usage"))
        try expectUsed(Self.told.merging(["of-model": 980]) { $1 }, setting, user, "a long call")
    }

    @Test("While the daemon is away, or hangs, calls of a model pass and cost nothing", arguments: Door.settling)
    func daemonAway(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        try setting.holdDaemon()
        let response = try setting.call(user)
        #expect(response.status == 200 && response["X-Rate-Limit-Degraded"] == "daemon_unreachable", "\(response)")
        setting.daemon.process.send(SIGCONT)
        // What was asked late is reserved once at most, and never charged for tokens.
        #expect(try setting.call(newUser()).status == 200)
        #expect(try setting.used(user)["requests"] ?? 9 <= 1)
        setting.daemon.kill()
        let text = try setting.stream(user, #""stream_options":{"include_usage":true}"#)
        #expect(text.hasPrefix("HTTP/1.1 200 ") && text.hasSuffix("0\r\n\r\n"))
        try setting.daemon.restart()
        #expect(try setting.call(user).status == 200)
        #expect(try eventually(within: 10) { try setting.used(user)["output"] == 80 })
    }

    @Test(
        "While Redis is away calls of a model pass with the reason; once it is back they are charged",
        arguments: Door.settling)
    func redisAway(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        #expect(try setting.call(user).status == 200)
        setting.redis.end()
        let response = try setting.call(user)
        #expect(response.status == 200 && response["X-Rate-Limit-Degraded"]?.hasPrefix("redis_") == true, "\(response)")
        try setting.redis.restart()
        let other = newUser()
        #expect(
            try eventually(within: 20) {
                let response = try setting.call(other)
                return response.status == 200 && response["RateLimit"] != nil
            })
        #expect(try eventually(within: 10) { try setting.used(other)["output"] ?? 0 >= 80 })
    }

    @Test("What a call took is charged though the daemon was away when it ended", arguments: [Door.nginxLua, .haproxy])
    func settledLater(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        let socket = try setting.begin(user, #""stream":true,"slow":true,"stream_options":{"include_usage":true}"#)
        var received = ""
        while !received.contains("delta"), let bytes = try socket.receive(), !bytes.isEmpty {
            received += String(decoding: bytes, as: UTF8.self)
        }
        setting.daemon.kill()
        while let bytes = try socket.receive(), !bytes.isEmpty { received += String(decoding: bytes, as: UTF8.self) }
        #expect(received.hasSuffix("0\r\n\r\n"))
        try setting.daemon.restart()
        try expectUsed(Self.told, setting, user, "after the daemon's restart")
    }

    @Test("What HAProxy holds for a call is renewed while it lasts, and free a while after HAProxy has died")
    func renewed() throws {
        let line = "LEASE_SECONDS, RENEWAL_SECONDS = 60, 20"
        let setting = try GatewaySetting(
            .haproxy, limits: GatewaySetting.limits + Self.oneAtATime,
            bounds: [line: "LEASE_SECONDS, RENEWAL_SECONDS = 6, 1"])
        let user = newUser()
        let socket = try setting.begin(user, #""wait":120"#)
        #expect(try eventually(within: 10) { try setting.used(user)["calls"] == 1 })
        // Nobody else asks anything of Redis; the metrics do not.
        let before = try setting.daemon.metric("llm_rate_limit_redis_duration_seconds_count") ?? -1
        #expect(
            try eventually(within: 20) {
                try setting.daemon.metric("llm_rate_limit_redis_duration_seconds_count") ?? -1 >= before + 3
            })
        setting.endGateway()
        #expect(try eventually(within: 30) { try setting.used(user)["calls"] == 0 })
        withExtendedLifetime(socket) {}
    }

    @Test("Settlements that HAProxy loses are counted in its log, in few lines")
    func lost() throws {
        let setting = try GatewaySetting(
            .haproxy, limits: GatewaySetting.limits,
            bounds: [
                "QUEUE_LENGTH, SENDERS, RETRIED_SECONDS = 4096, 16, 90":
                    "QUEUE_LENGTH, SENDERS, RETRIED_SECONDS = 2, 1, 2",
                "LEASE_SECONDS, RENEWAL_SECONDS = 60, 20": "LEASE_SECONDS, RENEWAL_SECONDS = 60, 1",
                "LOG_PAUSE_SECONDS = 10": "LOG_PAUSE_SECONDS = 2",
            ], ["REQUESTS": "1000"])
        let sockets = try (0..<12).map { _ in try setting.begin(newUser(), #""stream":true,"slow":true"#) }
        for socket in sockets { #expect(try socket.receive()?.isEmpty == false) }
        setting.daemon.kill()
        for socket in sockets { while let bytes = try socket.receive(), !bytes.isEmpty {} }
        func counts() -> [Int] {
            setting.logged("was not told what").filter { $0.hasPrefix("llm-rate-limit ") }.compactMap { line in
                line.split(separator: " ").lazy.compactMap { Int($0) }.first
            }
        }
        let areCounted = eventually(within: 20) { counts().reduce(0, +) == 12 }
        #expect(areCounted && counts().count < 12, "\(counts())")
    }

    @Test(
        "While the daemon is away the log has a line, and not one for each call", arguments: [Door.nginxLua, .haproxy])
    func quiet(door: Door) throws {
        let setting = try setting(door)
        setting.daemon.kill()
        for _ in 0..<40 { #expect(try setting.call(newUser()).status == 200) }
        // HAProxy has one for each of two threads, and writes it to its standard error as well.
        let count = setting.logged("does not decide").count
        #expect(1...4 ~= count, "\(count)")
    }
}
