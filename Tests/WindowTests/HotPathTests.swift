import TestSupport
import Testing

@testable import RateLimitService

/// The script decides the commonest requests on a hot path of its own. Whatever is decided there must come to the same,
/// byte by byte, as off it: so two databases in which the same histories are played, one each way, stay equal.
@Suite("The script's hot path")
struct HotPathTests {
    /// All that a Redis keeps, but for what a set and a hash keep in an order of their own.
    private func dump(_ redis: RedisConnection) throws -> [String: String] {
        let keys = try redis.command("KEYS", "*").elements.compactMap(\.text)
        return try Dictionary(
            uniqueKeysWithValues: keys.map { key in
                let expiry = try redis.command("PEXPIRETIME", key)
                let value =
                    switch try redis.command("TYPE", key).text {
                    case "string": "\(try redis.command("GET", key))"
                    case "zset": "\(try redis.command("ZRANGE", key, "0", "-1", "WITHSCORES"))"
                    default: "\(try redis.command("HGETALL", key).elements.map { "\($0)" }.sorted())"
                    }
                return (key, "\(expiry) \(value)")
            })
    }

    @Test("writes what is written off it, and answers the same", arguments: DecidePropertyTests.shapes.indices)
    func alike(_ index: Int) throws {
        let shape = DecidePropertyTests.shapes[index].shape
        let (hot, slow) = (try RedisServer(), try RedisServer())
        let (hotRedis, slowRedis) = (try hot.connect(), try slow.connect())
        for seed in 1...UInt64(shape.runs) {
            var random = SeededGenerator(seed: 1_000 + seed)
            let history = shape.history(&random)
            // Each is held against the model too: so both answer the same.
            var hotPlayer = CallPlayer(try DecidedCalls(hotRedis, script: DecidedCalls.script), shape)
            var slowPlayer = CallPlayer(try DecidedCalls(slowRedis, script: DecidedCalls.slowScript), shape)
            for start in stride(from: 0, to: history.count, by: 10) {
                let part = Array(history[start..<min(start + 10, history.count)])
                try hotPlayer.play(part)
                try slowPlayer.play(part)
                try #require(try dump(hotRedis) == dump(slowRedis), "seed \(seed), steps \(part)")
            }
        }
        hot.end()
        slow.end()
    }

    @Test("decides nearly all requests of the commonest kinds")
    func commonest() throws {
        let server = try RedisServer()
        // Whoever leaves the hot path says so.
        let script = DecidedCalls.script.replacing(
            "    slow = slow or make(redis_now)", with: "    call('INCR', 'slow')\n    slow = slow or make(redis_now)")
        #expect(script != DecidedCalls.script)
        let calls = try DecidedCalls(server.connect(), script: script)
        let book = LeaseBook()
        let start = WindowPropertyTests.start
        func terms(_ cost: Int) -> [SubjectTerms] {
            let windows = [1: 3_600_000, 2: 86_400_000].map { id, window in
                LimitTerm(
                    id: id, kind: .sliding(windowMilliseconds: window), quota: 10_000_000, cost: cost,
                    thresholds: [1_000, 50_000, 10_000_000])
            }
            let slot = LimitTerm(id: 9, kind: .concurrency, quota: 100, cost: 1)
            return [SubjectTerms(key: Array("llm-rate:user".utf8), terms: windows + [slot])]
        }
        for index in 0..<100 {
            let at = start + index * 1_000_000
            for (operation, hasID) in [
                (DecisionOperation.check, false), (.check, true), (.reserve, true), (.renew, true), (.settle, true),
                (.usage, true),
            ] {
                let call = DecisionCall(
                    operation, id: hasID ? book.id("\(index)", of: operation) : nil,
                    subjects: terms(operation == .check ? 1 : 700))
                let answer = try calls.decide(call, clockMicroseconds: at)
                book.note(answer, to: operation, of: "\(index)")
                #expect(answer.verdict == .done)
            }
            // A denial by a window that has outgrown the bundle reads that one off the hot path.
            if index < 30 {
                for id in [nil, book.id("denied \(index)", of: .check)] {
                    let denied = try calls.decide(
                        DecisionCall(.check, id: id, subjects: terms(9_999_999)), clockMicroseconds: at)
                    guard case .denied = denied.verdict else { throw TestFailure("\(denied)") }
                }
            }
            for operation in [DecisionOperation.reserve, .release] {
                let id = book.id("r\(index)", of: operation)
                let answer = try calls.decide(
                    DecisionCall(operation, id: id, subjects: terms(700)), clockMicroseconds: at)
                book.note(answer, to: operation, of: "r\(index)")
                #expect(answer.verdict == .done)
            }
        }
        // The first of them make room for a section, and one in SMALL outgrows the bundle.
        let slow = try calls.redis.command("GET", "slow").text.flatMap { Int($0) } ?? 0
        #expect(slow <= 10, "\(slow) of 860")
        server.end()
    }
}
