import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// The seven properties by name, each on the real script in a real Redis.
@Suite("The window")
struct WindowTests {
    private let start = WindowPropertyTests.start
    private let server: RedisServer
    private let window: ScriptWindow

    init() throws {
        server = try RedisServer()
        window = try ScriptWindow(server.connect())
    }

    private func limit(_ quota: Int, _ windowMilliseconds: Int = 1000) -> Limit {
        Limit(name: "requests", quota: quota, windowMilliseconds: windowMilliseconds)
    }

    private func check(_ limit: Limit, cost: Int = 1, at microseconds: Int) throws -> Decision {
        try window.check(cost: cost, limit: limit, clockMicroseconds: start + microseconds)
    }

    @Test("1. Never over: (t - W, t] is closed at its end, to the microsecond")
    func neverOver() throws {
        #expect(try check(limit(2), cost: 2, at: 0).isAllowed)
        #expect(try !check(limit(2), at: 999_999).isAllowed)
        #expect(try check(limit(2), at: 1_000_000).isAllowed)
        server.end()
    }

    @Test("2. Never under: exact for 1,024 admissions at once")
    func neverUnder() throws {
        for index in 0..<1024 { #expect(try check(limit(1024), at: index).isAllowed) }
        #expect(try !check(limit(1024), at: 1023).isAllowed)
        for index in 0..<1024 {
            #expect(try !check(limit(1024), at: 1_000_000 + index - 1).isAllowed || index == 0)
            #expect(try check(limit(1024), at: 1_000_000 + index).isAllowed)
        }
        server.end()
    }

    @Test("2. Never under: above 1,024 admissions an expiry is at most W/1024 late, and a key stays bounded")
    func mergingIsBounded() throws {
        let limit = limit(1_000_000, 1_024_000)
        var admissions: [Int] = []
        var random = SeededGenerator(seed: 7)
        var time = 0
        for index in 0..<40_000 {
            time += Int.random(in: 0..<70_000, using: &random)
            let decision = try check(limit, at: time)
            admissions.append(time)
            guard index % 97 == 0 else { continue }
            let exact = admissions.reversed().prefix { $0 > time - 1_024_000_000 }.count
            let late = admissions.reversed().prefix { $0 > time - 1_024_000_000 - 1_000_000 }.count
            #expect(decision.used >= exact && decision.used <= late, "after \(index) admissions")
        }
        // 2,049 merged, 1,280 exact and 256 dead entries of 8 bytes: what the script's own comment promises.
        #expect(try window.length() <= 27 + 38 + 7 + (2049 + 1280 + 256) * 8)
        server.end()
    }

    @Test("3. Denied and looking checks consume nothing and create nothing")
    func consumesNothing() throws {
        #expect(try check(limit(2), cost: 0, at: 0).used == 0)
        #expect(try check(limit(2), cost: 3, at: 0).verdict == .deniedForGood)
        #expect(try window.stored() == nil)
        #expect(try check(limit(2), cost: 2, at: 0).isAllowed)
        let before = try window.stored()
        #expect(try !check(limit(2), at: 1).isAllowed)
        #expect(try check(limit(2), cost: 0, at: 2).used == 2)
        #expect(try window.stored() == before)
        server.end()
    }

    @Test("4. Exact retry: denied a millisecond before, passes after the wait")
    func exactRetry() throws {
        #expect(try check(limit(5), cost: 3, at: 0).isAllowed)
        #expect(try check(limit(5), cost: 2, at: 400_500).isAllowed)
        let denial = try check(limit(5), cost: 4, at: 500_000)
        #expect(denial.verdict == .denied(retryAfterMilliseconds: 901))
        #expect(try !check(limit(5), cost: 4, at: 500_000 + 900_000).isAllowed)
        #expect(try check(limit(5), cost: 4, at: 500_000 + 901_000).isAllowed)
        server.end()
    }

    @Test("5. A clock that steps back lets nobody through before it has caught up")
    func clockStepsBack() throws {
        #expect(try check(limit(2), cost: 2, at: 5_000_000).isAllowed)
        let denial = try check(limit(2), at: 1_000_000)
        #expect(denial.verdict == .denied(retryAfterMilliseconds: 5000))
        #expect(try !check(limit(2), at: 5_999_999).isAllowed)
        #expect(try check(limit(2), at: 6_000_000).isAllowed)
        server.end()
    }

    @Test("5. An entry that had left the window at a denial is back when the clock steps back")
    func denialKeepsWhatClockBringsBack() throws {
        #expect(try check(limit(2), cost: 1, at: 0).isAllowed)
        #expect(try check(limit(2), cost: 1, at: 500_000).isAllowed)
        #expect(try !check(limit(2), cost: 2, at: 1_200_000).isAllowed)
        #expect(try !check(limit(2), cost: 1, at: 600_000).isAllowed)
        server.end()
    }

    @Test("6. A key expires when its window has emptied, and not a millisecond before")
    func keyExpires() throws {
        #expect(try check(limit(2), at: 1).isAllowed)
        #expect(try window.expiryMilliseconds() == start / 1000 + 1001)
        #expect(try check(limit(2), at: 700_000).isAllowed)
        #expect(try window.expiryMilliseconds() == start / 1000 + 1700)
        server.end()
    }

    @Test("7. A new limit or window holds from the next check on and keeps what is counted")
    func newLimit() throws {
        for index in 0..<3 { #expect(try check(limit(3), at: index).isAllowed) }
        #expect(try !check(limit(3), at: 10).isAllowed)
        #expect(try check(limit(4), at: 11).remaining == 0)
        let lowered = try check(limit(2), at: 12)
        #expect(!lowered.isAllowed && lowered.used == 4 && lowered.remaining == 0)
        #expect(try check(limit(4, 2000), at: 1_000_000).verdict == .denied(retryAfterMilliseconds: 1000))
        #expect(try check(limit(4, 1000), at: 1_000_011).remaining == 3)
        server.end()
    }

    @Test("7. What a longer window counts does not expire with the shorter one")
    func longerWindowKeepsKey() throws {
        #expect(try check(limit(2, 2000), cost: 2, at: 0).isAllowed)
        #expect(try check(limit(2, 10_000), cost: 0, at: 10).used == 2)
        #expect(try window.expiryMilliseconds() == start / 1000 + 2000)
        #expect(try !check(limit(2, 10_000), at: 10).isAllowed)
        #expect(try window.expiryMilliseconds() == start / 1000 + 10_000)
        #expect(try !check(limit(2, 10_000), at: 9_999_999).isAllowed)
        #expect(try check(limit(2, 10_000), at: 10_000_000).isAllowed)
        server.end()
    }

    @Test("Costs above 65,535 widen the entries without losing one")
    func widens() throws {
        let limit = limit(5_000_000)
        for index in 0..<200 { #expect(try check(limit, cost: 1 + index, at: index).isAllowed) }
        #expect(try check(limit, cost: 1_000_000, at: 300).used == 1_000_000 + 200 * 201 / 2)
        #expect(try check(limit, cost: 0, at: 1_000_000).used == 1_000_000 + 200 * 201 / 2 - 1)
        #expect(try check(limit, cost: 0, at: 1_000_299).used == 1_000_000)
        server.end()
    }

    @Test("A value that is no window fails its own check, and is left as it is")
    func foreignValue() throws {
        let redis = try server.connect()
        for value in [
            "hello", String(repeating: "x", count: 28), String(repeating: "\u{8}", count: 3000),
            String(repeating: "x", count: 66),
        ] {
            _ = try redis.command("SET", window.key, value)
            let failure = #expect(throws: TestFailure.self) { try check(limit(5), at: 0) }
            #expect(failure?.description == "ERR the value is not a rate limit window")
            #expect(try redis.command("GET", window.key).text == value)
        }
        server.end()
    }
}
