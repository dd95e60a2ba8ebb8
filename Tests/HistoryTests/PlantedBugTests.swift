import HistoryChecker
import TestSupport
import Testing

@testable import RateLimitService

/// Faults planted into the real script, which runs in a real Redis with several clients at once: the checker has to
/// find each, and has to find nothing in the script as it is, in the very same setting.
@Suite("Bugs planted into the script")
struct PlantedBugTests {
    static let mutations = [
        Mutation(
            name: "admits one too many", original: "elseif total + cost > limit then",
            mutated: "elseif total + cost > limit + 1 then"
        ),
        Mutation(
            name: "counts a check twice, now and then", original: "total, newest = total + cost, now",
            mutated: "if redis_now % 8 == 0 then cost = 2 * cost end total, newest = total + cost, now"
        ),
        Mutation(
            name: "window cut short by 3 %", original: "local window = span * 1000",
            mutated: "local window = span * 970"
        ),
        Mutation(
            name: "forgets to charge, now and then", original: "answer = pcall('SET', key, body, 'PXAT', expiry)",
            mutated: "if redis_now % 16 ~= 0 then answer = pcall('SET', key, body, 'PXAT', expiry) end"
        ),
        Mutation(
            name: "denies a little too early, now and then", original: "elseif total + cost > limit then",
            mutated: "elseif total + cost > limit - (redis_now % 8 == 0 and 1 or 0) then"
        ),
    ]

    private let contract = WindowContract(windowMicroseconds: 1_000_000)
    private let quota = 10

    @Test("The script as it is: no violation")
    func unchanged() throws {
        let checker = HistoryChecker(contract)
        var undecided = 0
        let histories = try record(CheckScript.text)
        for history in histories {
            switch checker.verdict(of: history) {
            case .consistent: break
            case .violation(let evidence): Issue.record("\(evidence)")
            case .undecided: undecided += 1
            }
        }
        print("the script as it is: \(histories.map(\.count)) operations, \(undecided) undecided")
        #expect(undecided == 0)
    }

    @Test("A planted bug is found, and shown in few operations", arguments: mutations)
    func planted(_ mutation: Mutation) throws {
        let checker = HistoryChecker(contract)
        var smallest: Evidence?
        // A bug that shows now and then may not show in one short run.
        for _ in 0..<5 where smallest == nil {
            for history in try record(mutation.planted(into: CheckScript.text)) {
                guard case .violation(let evidence) = checker.verdict(of: history) else { continue }
                if evidence.certainCount < smallest?.certainCount ?? Int.max { smallest = evidence }
            }
        }
        let evidence = try #require(smallest, "not found: \(mutation.name)")
        print("planted into the script: \(mutation.name): \(evidence)")
        #expect(evidence.certainCount <= quota + 2)
    }

    /// Eight clients on two users for some windows; what each of the users' clients saw.
    private func record(_ script: String) throws -> [[Operation]] {
        let redis = try RedisServer()
        let digest = try redis.connect().command("SCRIPT", "LOAD", script).text ?? ""
        let users = (0..<2).map { _ in "llm-rate:\(newUser())" }
        let end = monotonicMilliseconds() + 2_600
        let quota = quota
        let seen = try concurrently(8) { client in
            let connection = try redis.connect()
            var random = SeededGenerator(seed: UInt64(client))
            var operations: [Operation] = []
            while monotonicMilliseconds() < end {
                let cost = Int.random(in: 0..<20, using: &random) == 0 ? 0 : 1
                let start = systemMicroseconds()
                let reply = try connection.command(
                    "EVALSHA", digest, "1", users[client % 2], "\(quota)", "1000", "\(cost)")
                let answeredAt = systemMicroseconds()
                operations.append(
                    Operation(
                        cost: cost, startMicroseconds: start, endMicroseconds: answeredAt,
                        outcome: try Self.outcome(of: reply, cost: cost, quota: quota)
                    )
                )
                pause(milliseconds: Int.random(in: 1...12, using: &random))
            }
            return operations
        }
        redis.end()
        return [0, 1].map { user in (0..<8).filter { $0 % 2 == user }.flatMap { seen[$0] } }
    }

    private static func outcome(of reply: RedisReply, cost: Int, quota: Int) throws -> Operation.Outcome {
        let numbers = reply.elements.compactMap(\.integer)
        guard numbers.count == 3 else { throw TestFailure("Redis answered \(reply)") }
        let answer = Operation.Answer(
            quota: quota, remaining: max(0, quota - numbers[1]), resetAfterSeconds: (numbers[2] + 999) / 1_000
        )
        if numbers[0] > 0 { return .denied(answer, retryAfterSeconds: (numbers[0] + 999) / 1_000) }
        return cost == 0 ? .looked(answer) : .admitted(answer)
    }
}
