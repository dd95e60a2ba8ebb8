import NIOCore
import TestSupport
import Testing

@testable import RedisClient

/// A script that answers every command in order, but for those it is told about.
private func script(
    _ other: @escaping @Sendable (_ connection: Int, _ command: [String]) -> [FakeRedis.Step]? = { _, _ in nil }
) -> FakeRedis.Script {
    { connection, command in
        if let steps = other(connection, command) { return steps }
        return [.send(command.first == "PING" ? "+PONG\r\n" : "$\(command[0].utf8.count)\r\n\(command[0])\r\n")]
    }
}

@Suite("The handshake of a link")
struct RedisLinkHandshakeTests {
    @Test("is AUTH, SELECT, the setup and a PING, sent at once")
    func order() async throws {
        let redis = try await FakeRedis(script())
        let link = try await TestLink(
            redis.socketPath, user: "me", password: "pass word", database: 2,
            options: .patient(setup: [["ONE", "1"], ["TWO"]])
        )
        try await link.startAndWait()
        #expect(
            redis.commands[0].prefix(5) == [
                ["AUTH", "me", "pass word"], ["SELECT", "2"], ["ONE", "1"], ["TWO"], ["PING"],
            ])
        #expect(link.events == [.setup(0, "$ONE"), .setup(1, "$TWO"), .available])
        try await link.stop()
        try await redis.stop()
    }

    @Test("is a PING alone where nothing else is asked for")
    func shortest() async throws {
        let redis = try await FakeRedis(script())
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        #expect(redis.commands.count == 1)
        #expect(redis.commands[0].allSatisfy { $0 == ["PING"] })
        try await link.stop()
        try await redis.stop()
    }

    @Test("fails where something else than an answer to the PING comes")
    func noPong() async throws {
        let redis = try await FakeRedis(
            script { connection, command in connection == 0 && command == ["PING"] ? [.send(":3\r\n")] : nil })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        #expect(
            link.events == [
                .unavailable(.unreachable("Redis sent a reply that is none to what was asked")), .available,
            ])
        #expect(redis.commands.count == 2)
        try await link.stop()
        try await redis.stop()
    }

    @Test("fails while Redis still loads, and is tried again until it has loaded")
    func loading() async throws {
        let redis = try await FakeRedis(
            script { connection, _ in connection < 2 ? [.send("-LOADING Redis is loading\r\n")] : nil })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        #expect(link.events == [.unavailable(.refused("LOADING Redis is loading")), .available])
        #expect(redis.commands.count == 3)
        try await link.stop()
        try await redis.stop()
    }

    @Test("fails where the user does not accept a setup reply")
    func refusedByUser() async throws {
        let redis = try await FakeRedis(script())
        let link = try await TestLink(redis.socketPath, options: .patient(setup: [["ONE"]]), acceptsSetup: false)
        try await link.start()
        #expect(await link.eventually { !$0.changes.isEmpty })
        #expect(link.events.changes.first == .unavailable(.refused("setup command 0 was not answered as expected")))
        try await link.stop()
        try await redis.stop()
    }

    @Test("that gets no answer ends with its deadline and is tried again")
    func silence() async throws {
        let redis = try await FakeRedis(script { connection, _ in connection == 0 ? [] : nil })
        let link = try await TestLink(redis.socketPath, options: .patient(connectTimeout: .milliseconds(60)))
        let start = NIODeadline.now()
        try await link.startAndWait()
        #expect(link.events == [.unavailable(.timedOut), .available])
        #expect(NIODeadline.now() - start >= .milliseconds(60))
        try await link.stop()
        try await redis.stop()
    }
}

@Suite("A link whose Redis misbehaves")
struct RedisLinkMisbehaviourTests {
    @Test("loses each command once when the connection closes in the middle of a reply, and sends none again")
    func closedMidReply() async throws {
        let redis = try await FakeRedis(
            script { connection, command in
                guard connection == 0 else { return nil }
                switch command[0] {
                case "A": return [.send("$1\r\nA\r\n$5\r\nhe")]
                case "C": return [.close]
                case "B": return []
                default: return nil
                }
            })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([["A"], ["B"], ["C"]])
        #expect(await link.eventually { $0.isBack })
        let failure = LinkFailure.unreachable("Redis closed the connection")
        #expect(
            link.events == [
                .available, .reply(0, "$A"), .unavailable(failure), .lost(1, failure), .lost(2, failure), .available,
            ])
        #expect(redis.commands[1].allSatisfy { $0 == ["PING"] })
        try await link.stop()
        try await redis.stop()
    }

    @Test(
        "closes and connects again",
        arguments: [
            ("+HELLO\r\n", "Redis sent a reply that nothing had asked for"),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "Redis sent bytes that are no reply: "),
            ("*70000\r\n", "Redis sent a reply above the bound"),
            ("$2000000\r\n" + String(repeating: "x", count: 1_200_000), "Redis sent a reply above the bound"),
        ])
    func cannotBeTrusted(_ bytes: String, _ reason: String) async throws {
        let redis = try await FakeRedis(
            script { connection, command in
                guard connection == 0 else { return nil }
                return command[0] == "A" ? [.send("$1\r\nA\r\n"), .sendLater(bytes, .milliseconds(5))] : nil
            })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([["A"]])
        #expect(await link.eventually { $0.isBack })
        guard case .unavailable(.unreachable(let text))? = link.events.dropFirst(2).first else {
            Issue.record("\(link.events)")
            return
        }
        #expect(text.hasPrefix(reason))
        try await link.send([["B"]], from: 1)
        #expect(await link.eventually { $0.ends(of: 1) == [.reply(1, "$B")] })
        try await link.stop()
        try await redis.stop()
    }

    @Test("never gives one connection's replies to a command laid out for another")
    func laidOutWithoutConnection() async throws {
        let redis = try RedisServer(isStarted: false)
        let link = try await TestLink(redis.socketPath, options: .patient(setup: [["GET", "none"]]))
        try await link.start()
        #expect(await link.eventually { !$0.isEmpty })
        try await link.send([["INCR", "a"], ["INCR", "a"]])
        try redis.restart()
        #expect(await link.eventually { $0.last == .available })
        #expect(link.events.filter { if case .setup = $0 { true } else { false } } == [.setup(0, "_")])
        for number in 0...1 {
            let ends = link.events.ends(of: number)
            #expect(ends.count == 1)
            if case .lost(_, .unreachable)? = ends.first {} else { Issue.record("\(ends)") }
        }
        try await link.send([["GET", "a"]], from: 2)
        #expect(await link.eventually { $0.ends(of: 2) == [.reply(2, "_")] })
        try await link.stop()
    }
}

@Suite("A link whose Redis is slow")
struct RedisLinkDeadlineTests {
    @Test("gives up a command at its deadline, also just after connecting")
    func deadline() async throws {
        let redis = try await FakeRedis(script { _, command in command[0] == "A" ? [] : nil })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        let start = NIODeadline.now()
        try await link.send([["A"]], within: .milliseconds(40))
        #expect(await link.eventually { $0.ends(of: 0) != [] })
        let took = try #require(link.instant(of: .lost(0, .timedOut))) - start
        #expect(link.events == [.available, .lost(0, .timedOut), .unavailable(.timedOut)])
        #expect(took >= .milliseconds(40))
        try await link.stop()
        try await redis.stop()
    }

    @Test("discards a reply that comes too late, and is available again after a PING, on the same connection")
    func lateReply() async throws {
        let isLate = Flag()
        let redis = try await FakeRedis(
            script { _, command in command[0] == "A" ? [.sendOnce(isLate, "$4\r\nlate\r\n")] : nil })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([["A"]], within: .milliseconds(30))
        #expect(await link.eventually { $0.ends(of: 0) != [] })
        isLate.set()
        #expect(await link.eventually { $0.isBack })
        try await link.send([["B"]], from: 1)
        #expect(await link.eventually { $0.ends(of: 1) != [] })
        #expect(
            link.events == [
                .available, .lost(0, .timedOut), .unavailable(.timedOut), .available, .reply(1, "$B"),
            ])
        #expect(redis.commands.count == 1)
        let behind = redis.commands[0].drop { $0 == ["PING"] }
        #expect(behind.prefix(2) == [["A"], ["PING"]])
        try await link.stop()
        try await redis.stop()
    }

    @Test("is available again also where a command behind the late one was answered in time")
    func inTimeBehindLate() async throws {
        let isLate = Flag()
        let redis = try await FakeRedis(
            script { _, command in
                switch command[0] {
                case "A": [.sendOnce(isLate, "$4\r\nlate\r\n$1\r\nB\r\n")]
                case "B": []
                default: nil
                }
            })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([(["A"], .milliseconds(30)), (["B"], .seconds(20))])
        #expect(await link.eventually { $0.ends(of: 0) != [] })
        isLate.set()
        #expect(await link.eventually { $0.isBack }, "\(link.events)")
        #expect(link.events.ends(of: 0) == [.lost(0, .timedOut)])
        #expect(link.events.ends(of: 1) == [.reply(1, "$B")])
        #expect(redis.commands.count == 1)
        try await link.stop()
        try await redis.stop()
    }

    @Test("stays unavailable while the PING is late as well")
    func latePing() async throws {
        let isLate = Once()
        let redis = try await FakeRedis(
            script { _, command in
                switch command[0] {
                case "A":
                    isLate.set()
                    return [.sendLater("$1\r\nA\r\n", .milliseconds(300))]
                case "PING" where isLate.take(): return [.sendLater("+PONG\r\n", .milliseconds(700))]
                default: return nil
                }
            })
        let link = try await TestLink(redis.socketPath, options: LinkOptions(probeTimeout: .milliseconds(50)))
        try await link.startAndWait()
        try await link.send([["A"]], within: .milliseconds(20))
        #expect(await link.eventually { $0.isBack })
        #expect(redis.commands.count == 1)
        let behind = redis.commands[0].drop { $0 == ["PING"] }
        #expect(behind.prefix(3) == [["A"], ["PING"], ["PING"]])
        #expect(try await link.commandsInFlight == 0)
        try await link.stop()
        try await redis.stop()
    }

    @Test("closes a connection on which nothing arrives any more, and connects again")
    func silence() async throws {
        let redis = try await FakeRedis(
            script { connection, command in connection == 0 && command != ["PING"] ? [] : nil })
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([["A"], ["B"]], within: .milliseconds(30))
        #expect(await link.eventually { $0.isBack })
        #expect(redis.commands.map { $0.filter { $0 != ["PING"] } } == [[["A"], ["B"]], []])
        #expect(link.events.ends(of: 0) == [.lost(0, .timedOut)])
        #expect(link.events.ends(of: 1) == [.lost(1, .timedOut)])
        try await link.stop()
        try await redis.stop()
    }

    @Test("asks an idle Redis now and then, and knows that it is away before any command suffers")
    func heartbeat() async throws {
        let pings = Counter()
        let redis = try await FakeRedis(
            script { connection, command in connection == 0 && command == ["PING"] && pings.next() > 0 ? [] : nil })
        let link = try await TestLink(redis.socketPath, options: LinkOptions(probeTimeout: .milliseconds(50)))
        try await link.startAndWait()
        #expect(await link.eventually { $0.contains(.unavailable(.timedOut)) })
        #expect(await link.eventually { $0.isBack })
        #expect(redis.commands.count == 2)
        try await link.stop()
        try await redis.stop()
    }
}
