import HistoryChecker
import NIOCore
import RateLimitCore
import Synchronization
import TestSupport

@testable import RateLimitService
@testable import RedisClient

/// Clients that put their calls to `decide.lua` in a real Redis, without a daemon in between.
struct ScriptCalls {
    var world = CallWorld(
        requests: 60, tokens: 250, calls: 6, sharedTokens: 300, sharedCalls: 9, sessionTokens: 110, tenantRequests: 35)
    /// More values than are said: none is forgotten.
    private static let mostValues = 4
    var clients = 6
    var milliseconds = 2_200.0

    /// Plays the clients' habits under a script; what they saw.
    func record(_ script: String, seed: UInt64) throws -> [CallOperation] {
        let redis = try RedisServer()
        let digest = try redis.connect().command("SCRIPT", "LOAD", script).text ?? ""
        let keys = (0..<CallWorld.users).map { _ in "llm-rate:\(newUser())" }
        let leases = LeaseTexts()
        let end = monotonicMilliseconds() + milliseconds
        let seen = try concurrently(clients) { client in
            let connection = try redis.connect()
            var habits = CallHabits(client: client, seed: seed)
            var operations: [CallOperation] = []
            while monotonicMilliseconds() < end {
                let intent = habits.next()
                var operation = CallOperation(
                    intent.action, id: intent.id,
                    terms: world.terms(intent),
                    startMicroseconds: systemMicroseconds(), endMicroseconds: 0, outcome: .done)
                let call = call(operation, CallWorld.subjects(of: intent), keys, leases)
                let answer = try Self.decide(call.call, connection, digest)
                leases.note(answer, to: operation)
                operation.endMicroseconds = systemMicroseconds()
                take(answer, call.windows, into: &operation)
                if operation.outcome == .denied { habits.wasDenied(operation.id) }
                operations.append(operation)
                pause(milliseconds: habits.microseconds(1...25))
            }
            return operations
        }
        redis.end()
        return seen.flatMap { $0 }
    }

    /// The call, and for each of its terms in order the window.
    private func call(
        _ operation: CallOperation, _ subjects: [CallWorld.Subject], _ users: [String], _ leases: LeaseTexts
    ) -> (call: DecisionCall, windows: [Int]) {
        let contract = world.contract
        let parts = subjects.map { subject in
            (subject: subject, terms: operation.terms.filter { CallWorld.subject(of: $0.window) == subject })
        }
        let planned = parts.map { subject, terms in
            let (key, mostValues) = Self.key(subject, users)
            return SubjectTerms(
                key: Array(key.utf8),
                terms: terms.map { term in
                    let kind: LimitKind =
                        switch contract.windows[term.window] {
                        case .sliding(let microseconds): .sliding(windowMilliseconds: microseconds / 1_000)
                        case .concurrency: .concurrency
                        }
                    return LimitTerm(
                        id: UInt32(1 + CallWorld.limit(of: term.window)), kind: kind, quota: world.quotas[term.window],
                        cost: term.cost,
                        needsRoom: term.need > term.cost)
                }, mostValues: mostValues)
        }
        let call = DecisionCall(
            operation.decision, id: operation.id.flatMap { leases.id($0, of: operation.decision) },
            lifeMilliseconds: operation.lifeMicroseconds.map { max(1, $0 / 1_000) } ?? 60_000, subjects: planned)
        return (call, parts.flatMap(\.terms).map(\.window))
    }

    /// The key of a subject's windows, and how many such there may be under its user.
    private static func key(_ subject: CallWorld.Subject, _ users: [String]) -> (key: String, mostValues: Int) {
        switch subject {
        case .user(let user): (users[user], 0)
        case .all: ("llm-rate:group:team", 0)
        case .session(let session, let user): ("{\(users[user])}:by:label:session=\(session)", mostValues)
        case .tenant(let tenant): ("llm-rate:by:label:tenant=\(tenant)", 0)
        }
    }

    private static func decide(
        _ call: DecisionCall, _ connection: RedisConnection, _ digest: String
    ) throws -> CallAnswer {
        var batch = DecisionBatch()
        guard batch.append(call) else { throw TestFailure("an empty batch has no room") }
        var buffer = ByteBuffer()
        batch.write(digest: digest, withSource: false, to: &buffer)
        let text = try connection.command(encoded: Array(buffer.readableBytesView))
        guard let answer = DecisionAnswer(0, of: 1, in: try Reply(oneOf: text)).flatMap({ call.decided($0) }) else {
            throw TestFailure("decide.lua answered \(text)")
        }
        return answer
    }

    private func take(_ answer: CallAnswer, _ windows: [Int], into operation: inout CallOperation) {
        operation.outcome =
            switch answer.verdict {
            case .done: .done
            case .denied, .deniedForGood, .atCapacity: .denied
            case .unknownLease: .noLease
            case .repeated: .repeated
            case .tooLate: .noLease
            }
        for (window, state) in zip(windows, answer.states) {
            guard let place = operation.terms.firstIndex(where: { $0.window == window }) else { continue }
            operation.terms[place].standing = CallOperation.Standing(
                quota: world.quotas[window], used: state.used, isDenied: state.isDenied)
        }
    }
}

/// What the texts of all clients' leases say, by the ids of the history.
private final class LeaseTexts: Sendable {
    private let instants = Mutex<[String: LeaseInstants]>([:])

    func id(_ name: String, of operation: DecisionOperation) -> DecisionID? {
        switch operation {
        case .check, .reset, .refund, .dryCheck, .dryReserve: return nil
        case .usage: return .usage(UsageDigest(of: Array(name.utf8)))
        case .reserve, .renew, .settle, .release:
            let number = name.utf8.reduce(7 as UInt64) { $0 &* 31 &+ UInt64($1) }
            return .lease(LeaseMark(id: number, instants: instants.withLock { $0[name] } ?? .unknown))
        }
    }

    func note(_ answer: CallAnswer, to operation: CallOperation) {
        guard let name = operation.id, let own = answer.leaseInstants else { return }
        instants.withLock { $0[name] = operation.decision == .reserve ? own : $0[name]?.renewed(until: own) }
    }
}

extension CallOperation {
    fileprivate var lifeMicroseconds: Int? {
        switch action {
        case .reserve(let microseconds), .renew(let microseconds): microseconds
        case .check, .settle, .release, .usage, .look, .reset, .flush: nil
        }
    }

    fileprivate var decision: DecisionOperation {
        switch action {
        case .check, .look, .reset, .flush: .check
        case .reserve: .reserve
        case .renew: .renew
        case .settle: .settle
        case .release: .release
        case .usage: .usage
        }
    }
}
