import NIOCore
import TestSupport
import Testing

@testable import RedisClient

@Suite("A link to a real Redis")
struct RedisLinkServerTests {
    @Test("answers commands of one turn in their order")
    func commands() async throws {
        let redis = try RedisServer()
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([["SET", "a", "1"], ["INCR", "a"], ["GET", "a"], ["GET", "none"], ["LPUSH", "a", "x"]])
        #expect(await link.eventually { $0.ends(of: 4) != [] })
        let words = (0..<5).flatMap { link.events.ends(of: $0) }
        #expect(
            words == [
                .reply(0, "+OK"), .reply(1, ":2"), .reply(2, "$2"), .reply(3, "_"),
                .reply(4, "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ])
        try await link.stop()
    }

    @Test("logs in and selects its database before anything else")
    func login() async throws {
        let redis = try RedisServer()
        try redis.command("CONFIG", "SET", "requirepass", "sesame open")
        let link = try await TestLink(redis.socketPath, password: "sesame open", database: 3)
        try await link.startAndWait()
        try await link.send([["CLIENT", "INFO"]])
        #expect(await link.eventually { $0.ends(of: 0) != [] })
        guard case .reply(0, let info)? = link.events.ends(of: 0).first else { return }
        #expect(info.contains(" db=3 "))
        try await link.stop()
    }

    @Test("logs in as a named user")
    func namedUser() async throws {
        let redis = try RedisServer()
        try redis.command("ACL", "SETUSER", "limiter", "on", ">pw", "~*", "+@all")
        let link = try await TestLink(redis.socketPath, user: "limiter", password: "pw")
        try await link.startAndWait()
        try await link.send([["ACL", "WHOAMI"]])
        #expect(await link.eventually { $0.ends(of: 0) == [.reply(0, "$limiter")] })
        try await link.stop()
    }

    @Test(
        "says why Redis refuses it, and never becomes available",
        arguments: [("wrong", 0, "WRONGPASS"), (nil, 0, "NOAUTH"), ("right", 99, "ERR DB index")])
    func refused(_ password: String?, _ database: Int, _ reason: String) async throws {
        let redis = try RedisServer()
        try redis.command("CONFIG", "SET", "requirepass", "right")
        let link = try await TestLink(redis.socketPath, password: password, database: database)
        try await link.start()
        #expect(
            await link.eventually { events in
                events.contains { event in
                    if case .unavailable(.refused(let text)) = event { text.hasPrefix(reason) } else { false }
                }
            }
        )
        #expect(!link.events.contains(.available))
        try await link.stop()
    }

    @Test("runs its setup on each new connection and tells the replies")
    func setup() async throws {
        let redis = try RedisServer()
        let options = LinkOptions.patient(setup: [["SCRIPT", "LOAD", "return 7"], ["GET", "none"]])
        let link = try await TestLink(redis.socketPath, options: options)
        try await link.startAndWait()
        guard case .setup(0, let digest)? = link.events.first else { return }
        #expect(digest.utf8.count == 41)
        #expect(link.events.dropFirst() == [.setup(1, "_"), .available])
        try await link.send([["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"]])
        #expect(await link.eventually { $0.isBack })
        #expect(link.events.count { if case .setup(0, _) = $0 { true } else { false } } == 2)
        try await link.stop()
    }

    @Test("comes back by itself after Redis was killed and started again")
    func restart() async throws {
        let redis = try RedisServer()
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        redis.end()
        #expect(
            await link.eventually { if case .unavailable(.unreachable)? = $0.changes.last { true } else { false } }
        )
        try redis.restart()
        #expect(await link.eventually { $0.isBack })
        try await link.send([["PING"]])
        #expect(await link.eventually { $0.ends(of: 0) == [.reply(0, "+PONG")] })
        try await link.stop()
    }

    @Test("starts without Redis, says so, and finds it as soon as it is there")
    func startsWithout() async throws {
        let redis = try RedisServer(isStarted: false)
        let link = try await TestLink(redis.socketPath)
        try await link.start()
        #expect(await link.eventually { $0.contains(.unavailable(.unreachable("No such file or directory"))) })
        try redis.restart()
        #expect(await link.eventually { $0.last == .available })
        try await link.stop()
    }

    @Test("hears what is published on the channel it subscribes to")
    func subscriber() async throws {
        let redis = try RedisServer()
        let options = LinkOptions.patient(setup: [["SUBSCRIBE", "news"]], isSubscriber: true)
        let listener = try await TestLink(redis.socketPath, options: options)
        try await listener.startAndWait()
        #expect(listener.events.first == .setup(0, "*3 $subscribe $news :1"))
        let speaker = try await TestLink(redis.socketPath)
        try await speaker.startAndWait()
        try await speaker.send([
            ["PUBLISH", "news", "one"], ["PUBLISH", "other", "x"], ["PUBLISH", "news", "message"],
        ])
        #expect(
            await listener.eventually {
                $0.suffix(2) == [.pushed("*3 $message $news $one"), .pushed("*3 $message $news $message")]
            }
        )
        #expect(listener.events.changes == [.available])
        try await listener.stop()
        try await speaker.stop()
    }

    @Test("loses what is in flight when it is stopped, and does not connect again")
    func stop() async throws {
        let redis = try RedisServer()
        let link = try await TestLink(redis.socketPath)
        try await link.startAndWait()
        try await link.send([["BLPOP", "none", "0"]])
        try await link.stop()
        #expect(await link.eventually { $0.ends(of: 0) != [] })
        guard case .lost(0, .unreachable)? = link.events.ends(of: 0).first else {
            Issue.record("\(link.events)")
            return
        }
        try await Task.sleep(for: .milliseconds(100))
        #expect(link.events.changes == [.available])
    }
}
