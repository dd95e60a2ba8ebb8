import HistoryChecker
import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService
@testable import RedisClient

/// Faults planted into the real script, which runs in a real Redis with several clients at once: the checker has to
/// find each, and has to find nothing in the script as it is, in the very same setting.
@Suite("Bugs planted into the script")
struct PlantedBugTests {
    static let mutations = [
        Mutation(
            name: "admits one too many", original: "if sum <= plan[d + QUIET] then",
            mutated: "if sum <= plan[d + QUIET] + 1 then"
        ),
        Mutation(
            name: "counts a check twice, now and then", original: "ends, total = plan[d + ENDS], sum",
            mutated: "if redis_now % 8 == 0 then cost = 2 * cost end ends, total = plan[d + ENDS], total + cost"
        ),
        Mutation(
            name: "window cut short by 3 %", original: "plan[d + ENDS] = a * 1000,",
            mutated: "plan[d + ENDS] = a * 970,"
        ),
        Mutation(
            name: "forgets to charge, now and then", original: "local done = try('SET', key, text, 'PXAT', instant)",
            mutated: "local done = {} if redis_now % 16 ~= 0 then done = try('SET', key, text, 'PXAT', instant) end"
        ),
        Mutation(
            // In the plan, so that all paths deny so.
            name: "denies a little too early, now and then", original: "at = after",
            mutated: "at, quota = after, quota - (redis_now % 8 == 0 and 1 or 0)"
        ),
    ]

    private let contract = WindowContract(windowMicroseconds: 1_000_000)
    private let quota = 10

    @Test("The script as it is: no violation")
    func unchanged() throws {
        let checker = HistoryChecker(contract)
        var undecided = 0
        let histories = try record(DecisionScript.text)
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
        // A bug that shows now and then may not show in one short run, or only among many that overlap.
        for _ in 0..<20 where smallest?.certainCount ?? Int.max > quota + 2 {
            for history in try record(mutation.planted(into: DecisionScript.text)) {
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
        let users = try (0..<2).map { _ in try #require(SubjectID(newUser())) }
        let end = monotonicMilliseconds() + 2_600
        let quota = quota
        let seen = try concurrently(8) { client in
            let connection = try redis.connect()
            var random = SeededGenerator(seed: UInt64(client))
            var operations: [Operation] = []
            while monotonicMilliseconds() < end {
                let cost = Int.random(in: 0..<20, using: &random) == 0 ? 0 : 1
                let start = systemMicroseconds()
                let limit = Limit(name: "requests", quota: quota, windowMilliseconds: 1_000)
                var batch = DecisionBatch()
                _ = batch.begin(DecisionPlan(checksUnder: limit))
                batch.writeKeys { SubjectKeys(prefix: "llm-rate").writeUser(users[client % 2], to: &$0) }
                batch.writeAmount(cost)
                var buffer = ByteBuffer()
                batch.write(digest: digest, withSource: false, to: &buffer)
                let reply = try connection.command(encoded: Array(buffer.readableBytesView))
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
        guard let decided = DecisionAnswer(0, of: 1, in: try Reply(oneOf: reply))?.check(quota: quota) else {
            throw TestFailure("Redis answered \(reply)")
        }
        let decision = decided.decision
        let answer = Operation.Answer(
            quota: quota, remaining: decision.remaining,
            resetAfterSeconds: (decision.resetAfterMilliseconds + 999) / 1_000
        )
        if case .denied(let wait) = decision.verdict {
            return .denied(answer, retryAfterSeconds: (wait + 999) / 1_000)
        }
        return cost == 0 ? .looked(answer) : .admitted(answer)
    }
}

extension Reply {
    /// The reply of a batch of one, as the daemon's reader would have it.
    init(oneOf reply: RedisReply) throws {
        guard case .array(let parts) = reply, parts.count == 1, case .bulk(let bytes) = parts[0] else {
            throw TestFailure("Redis answered \(reply)")
        }
        self.init()
        self.bytes = bytes
        elements = [.array(count: 1), .bulk(0..<bytes.count)]
    }
}
