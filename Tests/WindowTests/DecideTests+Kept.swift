import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

// What is kept, for how long, and what becomes of it where Redis has lost a part.
extension DecideTests {
    @Test("A key lives until all of its windows and leases have ended")
    func expiry() throws {
        func expires(_ key: String) throws -> Int { try calls.redis.command("PEXPIRETIME", key).integer ?? 0 }
        #expect(try decide(.check, [term(1, 10, 1), term(2, 10, 1, window: 9000)], at: 0).verdict == .done)
        #expect(try expires(user) == start / 1000 + 9000)
        #expect(try decide(.check, [term(1, 10, 1)], at: 1).verdict == .done)
        #expect(try expires(user) == start / 1000 + 9000)
        #expect(try decide(.reserve, id: "a", ttl: 20_000, remember: 1000, [slot(1)], at: 0).verdict == .done)
        #expect(try expires(user) == start / 1000 + 21_000)
        #expect(
            try decide(.check, [term(2, 1, 1, window: 30_000)], at: 0).verdict
                == .denied(term: 0, retryAfterMilliseconds: 30_000))
        #expect(try expires(user) == start / 1000 + 30_000)
        server.end()
    }

    /// Reserves one of a limit of 20 under each of so many leases: more than 16 are kept beside the bundle.
    private func reserveMany(_ count: Int, ttl: Int = 60_000) throws {
        for index in 0..<count {
            #expect(
                try decide(.reserve, id: "many\(index)", ttl: ttl, [term(1, 20, 1), slot(20)], at: 0).verdict == .done)
        }
    }

    @Test("Few leases are in the bundle, more beside it, and they come back when few are left")
    func spilledLeases() throws {
        let (leases, held) = ("{\(user)}:leases", "{\(user)}:held")
        try reserveMany(16)
        #expect(try calls.keys() == [user])
        #expect(try decide(.reserve, id: "many16", [term(1, 20, 1), slot(20)], at: 0).verdict == .done)
        #expect(try calls.keys() == [user, held, leases])
        #expect(try used([term(1, 20, 1), slot(20)], at: 1) == [17, 17])
        for index in 0..<8 {
            #expect(try decide(.settle, id: "many\(index)", [term(1, 20, 1), slot(20)], at: 2).verdict == .done)
        }
        #expect(try calls.keys() == [user, held, leases])
        #expect(try decide(.release, id: "many8", [], at: 2).verdict == .done)
        #expect(try calls.keys() == [user])
        #expect(try used([term(1, 20, 1), slot(20)], at: 3) == [16, 8])
        #expect(try decide(.renew, id: "many9", ttl: 90_000, [], at: 3).verdict == .done)
        #expect(try used([slot(20)], at: 61_000_000) == [1])
        server.end()
    }

    @Test("A key of another kind where leases are to be kept fails its own call alone, and stays")
    func foreignLeases() throws {
        for key in ["{\(user)}:leases", "{\(user)}:held"] {
            _ = try calls.redis.command("FLUSHALL")
            try reserveMany(16)
            _ = try calls.redis.command("SET", key, "x")
            #expect(throws: TestFailure.self) { try decide(.reserve, id: "z", [term(1, 20, 1), slot(20)], at: 1) }
            #expect(try used([term(1, 20, 1), slot(20)], at: 1) == [16, 16])
            #expect(try calls.redis.command("GET", key).text == "x")
        }
        server.end()
    }

    @Test("Where Redis has evicted the leases, what they held is given back at the next decision but one at the latest")
    func evictedLeases() throws {
        try reserveMany(20)
        _ = try calls.redis.command("DEL", "{\(user)}:leases", "{\(user)}:held")
        let terms = [term(1, 20, 1), slot(20)]
        #expect(try decide(.reserve, id: "b", terms, at: 1).verdict == .atCapacity(term: 1, retryAfterMilliseconds: 1))
        #expect(try decide(.reserve, id: "b", terms, at: 1001).states.map(\.used) == [1, 1])
        server.end()
    }

    @Test("A long window that was left longer than the bundle says counts what the bundle says, from then on too")
    func excess() throws {
        for index in 0..<300 { #expect(try decide(.check, [term(1, 2000, 1)], at: index).verdict == .done) }
        _ = try calls.redis.command("APPEND", "{\(user)}:w:00000001", "xxxxxxxx")
        for index in 301...303 {
            #expect(try decide(.check, [term(1, 2000, 1)], at: index).states.map(\.used) == [index])
        }
        #expect(try used([term(1, 2000, 1)], at: 1_000_301) == [2])
        server.end()
    }

    @Test("A long window that Redis has evicted is empty, on the hot path too")
    func evictedWindow() throws {
        for _ in 0..<300 { #expect(try decide(.check, [term(1, 2000, 1)], at: 0).verdict == .done) }
        _ = try calls.redis.command("DEL", "{\(user)}:w:00000001")
        #expect(try decide(.check, [term(1, 2000, 1)], at: 1).states.map(\.used) == [1])
        server.end()
    }
}
