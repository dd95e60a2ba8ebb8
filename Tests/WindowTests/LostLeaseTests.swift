import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// What `decide.lua` answers about leases that Redis has lost: a failover, or a restart, leaves the bundle as it was
/// before they were given.
@Suite("A lease that Redis has lost")
struct LostLeaseTests {
    private let start = WindowPropertyTests.start
    private let server: RedisServer
    private let redis: RedisConnection
    private let user = "llm-rate:user"
    private let book = LeaseBook()

    init() throws {
        server = try RedisServer()
        redis = try server.connect()
    }

    /// The script of a server, of several that have the same data.
    private func script(ofServer number: Int, isHot: Bool) throws -> DecidedCalls {
        try DecidedCalls(
            redis, script: DecidedCalls.onServer(number, isHot ? DecidedCalls.script : DecidedCalls.slowScript))
    }

    private func decide(
        _ operation: DecisionOperation, _ id: DecisionID?, by calls: DecidedCalls, at milliseconds: Int
    ) throws -> CallAnswer {
        let terms = [
            LimitTerm(id: 1, kind: .sliding(windowMilliseconds: 3_600_000), quota: 100_000, cost: id == nil ? 0 : 10),
            LimitTerm(id: 99, kind: .concurrency, quota: 50, cost: operation == .reserve ? 1 : 0),
        ]
        let call = DecisionCall(
            operation, id: id, lifeMilliseconds: 600_000, subjects: [SubjectTerms(key: Array(user.utf8), terms: terms)])
        return try calls.decide(call, clockMicroseconds: start + milliseconds * 1000)
    }

    private func decide(
        _ operation: DecisionOperation, _ name: String, by calls: DecidedCalls, at milliseconds: Int
    ) throws -> CallVerdict {
        let answer = try decide(operation, book.id(name, of: operation), by: calls, at: milliseconds)
        book.note(answer, to: operation, of: name)
        return answer.verdict
    }

    /// What is used, with what leases hold, and the slots that are taken.
    private func used(by calls: DecidedCalls, at milliseconds: Int) throws -> [Int] {
        try decide(.check, nil, by: calls, at: milliseconds).states.map(\.used)
    }

    private func keep() throws { _ = try redis.command("COPY", user, "kept", "REPLACE") }

    private func fallBack() throws { _ = try redis.command("COPY", "kept", user, "REPLACE") }

    @Test("is charged once when it is settled, while the user has had no other lease since", arguments: [true, false])
    func latest(isHot: Bool) throws {
        let first = try script(ofServer: 1, isHot: isHot)
        #expect(try decide(.reserve, "a", by: first, at: 0) == .done)
        try keep()
        #expect(try decide(.reserve, "b", by: first, at: 1) == .done)
        #expect(try decide(.reserve, "c", by: first, at: 1) == .done)
        try fallBack()
        #expect(try decide(.renew, "b", by: first, at: 2) == .unknownLease)
        #expect(try decide(.settle, "b", by: first, at: 3) == .done)
        #expect(try decide(.settle, "b", by: first, at: 4) == .repeated)
        #expect(try decide(.release, "c", by: first, at: 5) == .unknownLease)
        #expect(try decide(.settle, "c", by: first, at: 6) == .repeated)
        #expect(try used(by: first, at: 7) == [20, 1])
        #expect(try decide(.settle, "a", by: first, at: 8) == .done)
        #expect(try used(by: first, at: 9) == [20, 0])
        server.end()
    }

    @Test("is charged once when it is settled, also after another server has given others", arguments: [true, false])
    func beforeOthers(isHot: Bool) throws {
        let (first, second) = (try script(ofServer: 1, isHot: isHot), try script(ofServer: 2, isHot: isHot))
        #expect(try decide(.reserve, "a", by: first, at: 0) == .done)
        #expect(try decide(.reserve, "early", by: first, at: 0) == .done)
        #expect(try decide(.settle, "early", by: first, at: 5) == .done)
        try keep()
        for id in ["b", "c"] { #expect(try decide(.reserve, id, by: first, at: 10) == .done) }
        try fallBack()
        // The new master's clock may be behind.
        for (id, at) in [("d", 11), ("e", 12), ("f", 3_000)] {
            #expect(try decide(.reserve, id, by: second, at: at) == .done)
        }
        #expect(try decide(.settle, "b", by: second, at: 4_000) == .done)
        for id in ["d", "e", "f", "a"] { #expect(try decide(.settle, id, by: second, at: 5_000) == .done) }
        #expect(try decide(.settle, "c", by: second, at: 6_000) == .done)
        for id in ["early", "a", "b", "c", "d", "e", "f"] {
            #expect(try decide(.settle, id, by: second, at: 7_000) == .repeated, "\(id)")
        }
        #expect(try used(by: second, at: 8_000) == [70, 0])
        server.end()
    }

    @Test("is never one that was ended, however servers follow one another and their clocks differ")
    func ended() throws {
        var random = SeededGenerator(seed: 20_261_128)
        let calls = try (1...3).map { try script(ofServer: $0, isHot: $0 > 1) }
        let skews = [0, 40, -40]
        var (server, ended, standing) = (0, [String](), [String]())
        for step in 0..<400 {
            if Int.random(in: 0..<10, using: &random) == 0 { server = Int.random(in: 0..<3, using: &random) }
            let at = 1_000 + 7 * step + skews[server]
            if standing.count > 12 || (!standing.isEmpty && Bool.random(using: &random)) {
                let id = standing.remove(at: Int.random(in: standing.indices, using: &random))
                #expect(try decide(.settle, id, by: calls[server], at: at) == .done)
                ended.append(id)
            } else {
                #expect(try decide(.reserve, "\(step)", by: calls[server], at: at) == .done)
                standing.append("\(step)")
            }
            guard let again = ended.randomElement(using: &random) else { continue }
            try #require(try decide(.settle, again, by: calls[server], at: at) == .repeated, "step \(step)")
        }
        #expect(try used(by: calls[0], at: 5_000) == [10 * (ended.count + standing.count), standing.count])
        self.server.end()
    }

    @Test("shows between as many changes of the server as are known, in a bundle of bounded length")
    func gaps() throws {
        let calls = try (1...2).map { try script(ofServer: $0, isHot: true) }
        #expect(try decide(.reserve, "a", by: calls[0], at: 0) == .done)
        #expect(try decide(.settle, "a", by: calls[0], at: 0) == .done)
        let length = try redis.command("STRLEN", user).integer ?? 0
        // So is each of these, since the next server's first lease was given 10 ms after the last one's.
        func wouldBeLost(_ index: Int) throws -> Bool {
            let instants = LeaseInstants(
                givenAtMilliseconds: start / 1000 + 10 * index + 5, lapsesAtMilliseconds: start / 1000 + 600_000)
            try keep()
            defer { _ = try? fallBack() }
            let id = DecisionID.lease(LeaseMark(id: UInt64(index), instants: instants))
            return try decide(.settle, id, by: calls[0], at: 1_000).verdict == .done
        }
        for index in 1...20 {
            let server = calls[index % 2]
            #expect(try decide(.reserve, "\(index)", by: server, at: 10 * index) == .done)
            #expect(try decide(.release, "\(index)", by: server, at: 10 * index) == .done)
            let gaps = min(index, 8)
            #expect(try redis.command("STRLEN", user).integer == length + 12 * gaps)
        }
        #expect(try (0...20).map(wouldBeLost) == (0...20).map { $0 >= 12 })
        server.end()
    }

    @Test("in part is charged where all of its servers gave it in the time that was lost, for sure")
    func parts() throws {
        let (first, second) = (try script(ofServer: 1, isHot: true), try script(ofServer: 2, isHot: true))
        #expect(try decide(.reserve, "a", by: first, at: 0) == .done)
        #expect(try decide(.reserve, "b", by: second, at: 200) == .done)
        // By the latest instant at which one of its servers gave it, and how much earlier another did.
        func verdict(_ id: UInt64, given: Int, spread: Int) throws -> CallVerdict {
            let instants = LeaseInstants(
                givenAtMilliseconds: start / 1000 + given, lapsesAtMilliseconds: start / 1000 + 600_000,
                spreadMilliseconds: spread)
            return try decide(.settle, .lease(LeaseMark(id: id, instants: instants)), by: second, at: 400).verdict
        }
        #expect(try verdict(1, given: 199, spread: 198) == .done)
        #expect(try verdict(2, given: 199, spread: 199) == .repeated)
        #expect(try verdict(3, given: 200, spread: 50) == .repeated)
        #expect(try verdict(4, given: 100, spread: LeaseInstants.unknownSpread) == .repeated)
        #expect(try verdict(5, given: 300, spread: 99) == .done)
        #expect(try verdict(6, given: 300, spread: 100) == .repeated)
        #expect(try verdict(7, given: 300, spread: LeaseInstants.unknownSpread) == .repeated)
        server.end()
    }
}
