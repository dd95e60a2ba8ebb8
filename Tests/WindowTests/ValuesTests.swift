import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// What `decide-values.lua` keeps of the values that calls say, by name, on a real Redis.
@Suite("The values of what calls say")
struct ValuesTests {
    private let start = WindowPropertyTests.start
    private let server: RedisServer
    private let calls: DecidedCalls
    private let base = "llm-rate:user"
    private let book = LeaseBook()

    init() throws {
        server = try RedisServer()
        calls = try DecidedCalls(server.connect())
    }

    private func key(_ session: String) -> String { "{\(base)}:by:label:session=\(session)" }

    private func subject(_ session: String, _ terms: [LimitTerm], most: Int) -> SubjectTerms {
        SubjectTerms(key: Array(key(session).utf8), terms: terms, mostValues: most)
    }

    private func term(_ id: UInt32 = 1, cost: Int = 1, window: Int = 60_000) -> LimitTerm {
        LimitTerm(id: id, kind: .sliding(windowMilliseconds: window), quota: 2_000, cost: cost)
    }

    private let slot = LimitTerm(id: 9, kind: .concurrency, quota: 40, cost: 1)

    private func decide(
        _ session: String, _ terms: [LimitTerm]? = nil, most: Int = 3, at milliseconds: Int
    ) throws -> CallAnswer {
        try decide(.check, session, terms, most: most, at: milliseconds)
    }

    private func decide(
        _ operation: DecisionOperation, _ session: String, _ terms: [LimitTerm]? = nil, id: String = "",
        most: Int = 3, at milliseconds: Int
    ) throws -> CallAnswer {
        let call = DecisionCall(
            operation, id: book.id(id, of: operation),
            subjects: [
                SubjectTerms(key: Array(base.utf8), terms: [term(2)]), subject(session, terms ?? [term()], most: most),
            ])
        let answer = try calls.decide(call, clockMicroseconds: start + milliseconds * 1000)
        book.note(answer, to: operation, of: id)
        return answer
    }

    private func reset(_ terms: [LimitTerm] = [], most: Int = 0, at milliseconds: Int) throws -> CallVerdict {
        let call = DecisionCall(
            .reset, subjects: [SubjectTerms(key: Array(base.utf8), terms: terms, mostValues: most)])
        return try calls.decide(call, clockMicroseconds: start + milliseconds * 1000).verdict
    }

    private func sessions() throws -> Set<String> {
        let kept = try ValuesInRedis(calls.redis, base: base, names: "label:session")
        #expect(kept.faults == [] && Set(kept.bundles.keys).isSubset(of: kept.known.keys))
        return Set(kept.bundles.keys.map { String($0.dropFirst("label:session=".count)) })
    }

    @Test("Beyond the bound the one that has been idle for longest is forgotten, and the answer says so of its terms")
    func bound() throws {
        for (index, session) in ["a", "b", "c"].enumerated() {
            #expect(try decide(session, at: index).states.map(\.hasDisplaced) == [false, false])
        }
        #expect(try decide("a", at: 10).states.map(\.used) == [4, 2])
        let fourth = try decide("d", at: 11)
        #expect(fourth.states.map(\.hasDisplaced) == [false, true] && fourth.states.map(\.used) == [5, 1])
        #expect(try sessions() == ["a", "c", "d"])
        #expect(try decide("a", at: 12).states[1].used == 3)
        #expect(try decide("b", at: 13).states.map(\.used) == [7, 1])
        #expect(try sessions() == ["a", "b", "d"])
        server.end()
    }

    @Test("A look and a denial leave nothing of a value, and take nobody's place")
    func nothingForNothing() throws {
        for session in ["a", "b", "c"] { _ = try decide(session, at: 0) }
        #expect(try decide("d", [term(cost: 0)], at: 1).states[1].hasDisplaced == false)
        #expect(try decide("d", [term(cost: 3_000)], at: 1).verdict == .deniedForGood(term: 1))
        #expect(try sessions() == ["a", "b", "c"])
        server.end()
    }

    @Test("A value whose lease stands is in use; one that has expired makes room")
    func leases() throws {
        #expect(try decide(.reserve, "a", id: "1", at: 0).verdict == .done)
        for (index, session) in ["b", "c"].enumerated() { _ = try decide(session, at: 10 + index) }
        _ = try decide("d", at: 20)
        #expect(try sessions() == ["a", "c", "d"])
        #expect(try decide(.settle, "a", id: "1", at: 21).states.map(\.used) == [4, 1])
        try calls.expire(clockMicroseconds: start + 60_500_000)
        #expect(try sessions() == ["a"])
        for session in ["e", "f"] { #expect(try decide(session, at: 60_500).states[1].hasDisplaced == false) }
        #expect(try sessions() == ["a", "e", "f"])
        server.end()
    }

    @Test(
        "A lease whose value was forgotten is charged when it is settled, and frees nothing in the value's new windows")
    func forgottenLease() throws {
        for id in ["1", "2"] {
            #expect(try decide(.reserve, "a", [term(), slot], id: id, most: 1, at: 0).verdict == .done)
        }
        _ = try decide("b", most: 1, at: 1)
        #expect(try sessions() == ["b"])
        #expect(try decide(.reserve, "a", [term(), slot], id: "3", most: 1, at: 2).states.map(\.used) == [4, 1, 1])
        #expect(try decide(.renew, "a", [term(), slot], id: "1", most: 1, at: 3).verdict == .unknownLease)
        let settled = try decide(.settle, "a", [term(), slot], id: "1", most: 1, at: 3)
        #expect(settled.verdict == .done && settled.states.map(\.used) == [4, 2, 1])
        #expect(try decide(.settle, "a", [term(), slot], id: "1", most: 1, at: 4).verdict == .repeated)
        #expect(try decide(.release, "a", [term(), slot], id: "2", most: 1, at: 4).states.map(\.used) == [3, 2, 1])
        server.end()
    }

    @Test("What is forgotten leaves nothing: neither a window that outgrew its bundle nor the leases beside it")
    func leavesNothing() throws {
        for count in 0..<20 { _ = try decide(.reserve, "a", [term(), slot], id: "\(count)", at: 0) }
        for count in 0..<140 { _ = try decide("a", at: 1 + count) }
        let beside = try calls.keys().filter { $0.hasPrefix("\(key("a"))}:") }
        #expect(beside.count == 3)
        _ = try decide("b", most: 1, at: 200)
        #expect(try calls.keys().filter { $0.contains("session=a") } == [])
        server.end()
    }

    @Test("A bound that was made smaller holds after a few more values")
    func smallerBound() throws {
        for count in 0..<60 { _ = try decide("\(count)", most: 100, at: count) }
        for count in 60..<64 { _ = try decide("\(count)", most: 5, at: count) }
        #expect(try sessions() == ["59", "60", "61", "62", "63"])
        server.end()
    }

    @Test("Of more values in use than are looked at the one used longest ago of those goes, and the bound holds")
    func manyInUse() throws {
        for count in 100..<140 { _ = try decide("\(count)", most: 40, at: count - 100) }
        for count in (100..<140).reversed() { _ = try decide("\(count)", most: 40, at: 1_000 - count) }
        let answer = try decide("new", most: 40, at: 2_000)
        #expect(answer.states[1].hasDisplaced)
        let left = try sessions()
        #expect(left.count == 40 && left.contains("new") && !left.contains("115"))
        server.end()
    }

    @Test(
        "A reset of the user forgets the windows of all values, of up to 10,000 at once; one of a limit where it says so"
    )
    func reset() throws {
        for session in ["a", "b", "c"] { _ = try decide(session, [term(), term(3)], at: 0) }
        #expect(try reset([term()], most: 1, at: 1) == .done)
        #expect(try decide("a", [term(), term(3)], at: 2).states.map(\.used) == [4, 1, 2])
        #expect(try reset([term()], at: 3) == .done)
        #expect(try decide("a", [term(), term(3)], at: 4).states.map(\.used) == [5, 2, 3])
        _ = try decide(.reserve, "c", [term(), slot], id: "1", at: 5)
        #expect(try reset(at: 6) == .done)
        #expect(try sessions() == ["c"])
        #expect(try decide(.settle, "c", [term(), slot], id: "1", at: 7).states.map(\.used) == [1, 1, 0])
        server.end()
    }

    @Test(
        "A key of another kind where the values are to be kept fails its own call alone, and nothing of that is charged"
    )
    func foreign() throws {
        _ = try calls.redis.command("SET", "{\(base)}:values:label:session", "something")
        let call = DecisionCall(
            .check, subjects: [SubjectTerms(key: Array(base.utf8), terms: [term(2)]), subject("a", [term()], most: 3)])
        guard case .failed = try calls.decide([call], clockMicroseconds: start)[0] else {
            Issue.record("not failed")
            return
        }
        #expect(try calls.keys() == ["{\(base)}:values:label:session"])
        server.end()
    }

    @Test("The ids of usage are known to the user, whichever value was said")
    func usage() throws {
        func usage(_ session: String) throws -> CallVerdict {
            let call = DecisionCall(
                .usage, id: .usage(UsageDigest(of: [7])), subjects: [subject(session, [term()], most: 1)])
            return try calls.decide(call, clockMicroseconds: start).verdict
        }
        #expect(try [usage("a"), usage("b"), usage("a")] == [.done, .repeated, .repeated])
        #expect(try calls.keys().contains("{\(base)}:ids"))
        server.end()
    }
}
