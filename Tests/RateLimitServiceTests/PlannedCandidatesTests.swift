import NIOCore
import RateLimitCore
import Testing

@testable import RateLimitService
@testable import RedisClient

@Suite("Candidates on their way to Redis")
struct PlannedCandidatesTests {
    private let batcher = ScriptBatcher(
        keyPrefix: "x", limit: Limit(name: "requests", quota: 20, windowMilliseconds: 1_000))
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private let user = SubjectID(high: 1, low: 1)
    private let limits: LimitsInForce

    init() throws {
        batcher.digest = "digest"
        let definitions = try (0..<16).map { index in
            LimitDefinition(
                name: try #require(LimitName("l\(index)")), scope: .user, unit: .requests, quota: 20 + index,
                window: .sliding(milliseconds: 1_000),
                matches: [LabelMatch(.model, anyOf: [.exact("m\(index)")])])
        }
        limits = LimitsInForce(rules: QuotaRules(limits: try LimitSet(definitions), policy: .min))
    }

    /// A call that has so many candidates, each under a limit of its own.
    private func candidates(_ count: Int) throws -> PlannedCandidates {
        let all = (0..<count).map { CallCandidate(index: $0, model: "m\($0)", provider: nil) }
        var request = CallRequest(user: user, cost: 7)
        request.candidates = all
        let candidates = PlannedCandidates(request, ticket: 0, requester: NoRequester())
        for candidate in all { candidates.ask(about: try planned(request.asking(about: candidate), under: limits)) }
        return candidates
    }

    private func append(_ candidates: PlannedCandidates) -> Bool {
        batcher.append(PendingRequest(candidates, arrivedAt: start))
    }

    @Test("count as many as they are, and come back as the one request that they were")
    func width() throws {
        batcher.append(user, cost: 1, at: start)
        #expect(try append(candidates(3)))
        batcher.append(user, cost: 2, at: start)
        #expect(batcher.unsentCount == 5 && batcher.pendingCount == 5)
        let bytes = batcher.written()
        // Five requests: a check, three of three plans, of which two have another behind them, and a check.
        let expected =
            Array("$5\r\n".utf8) + [0, 1, 2, 3, 0] + Array("\r\n$30\r\n".utf8)
            + [1, 7, 7, 7, 2].flatMap { littleEndian($0, 6) }
        #expect(bytes.firstRange(of: expected) != nil)
        batcher.append(user, cost: 3, at: start)
        #expect(batcher.pendingCount == 6 && batcher.unsentCount == 1)
        let batch = try #require(batcher.dequeueBatch())
        #expect(batch.count == 3 && batch.width == 5)
        let requests = (0..<3).map { _ in batcher.dequeueRequest() }
        #expect(requests.map(\.width) == [1, 3, 1] && batcher.pendingCount == 1)
        // Laid out again, where Redis did not know the script, they are as many as before.
        #expect(requests.allSatisfy { batcher.append($0) } && batcher.pendingCount == 6)
    }

    @Test("are never split: a batch without room for the plans of all takes none")
    func room() throws {
        for quota in 0..<DecisionBatch.mostPlans - 15 {
            let term = LimitTerm(id: 1, kind: .concurrency, quota: quota, cost: 1)
            let request = DecisionCall(.check, subjects: [SubjectTerms(key: [1], terms: [term])])
            #expect(batcher.append(PendingRequest(request, arrivedAt: start) { _ in }))
        }
        #expect(try !append(candidates(16)))
        #expect(batcher.unsentCount == DecisionBatch.mostPlans - 15)
        #expect(try append(candidates(15)))
        #expect(batcher.unsentCount == DecisionBatch.mostPlans)
        _ = batcher.written()
        #expect(try append(candidates(16)))
    }

    @Test("say in their plans behind which of them the next one stands, and share them with calls that stand alone")
    func plans() throws {
        let plan = try #require(
            try planned(CallRequest(user: user, attributes: CallAttributes(model: "m1")), under: limits)
                .plan.decision)
        let followed = plan.beforeNextCandidate()
        #expect(!followed.isEqual(to: plan) && followed.isEqual(to: plan.beforeNextCandidate()))
        let differing = zip(plan.argument, followed.argument).enumerated().filter { $1.0 != $1.1 }
        // Behind the length of the bulk string: operation, subjects, flags.
        let flags = try #require(plan.argument.firstIndex(of: UInt8(ascii: "\n"))) + 3
        #expect(differing.map(\.offset) == [flags] && plan.argument[flags] == 0 && followed.argument[flags] == 2)
        #expect(followed.termCount == plan.termCount && followed.argument.count == plan.argument.count)
    }

    /// A reply of a batch, with these strings.
    private func reply(_ strings: [[UInt8]]) -> Reply {
        var reply = Reply()
        reply.elements.append(.array(count: strings.count))
        for string in strings {
            let start = reply.bytes.count
            reply.bytes += string
            reply.elements.append(.bulk(start..<reply.bytes.count))
        }
        return reply
    }

    @Test("An empty string says that one was passed over, and is no answer")
    func passedOver() {
        let reply = reply([[], [0] + [UInt8](repeating: 0, count: 14)])
        #expect(DecisionAnswer.isPassedOver(0, of: 2, in: reply) && DecisionAnswer(0, of: 2, in: reply) == nil)
        #expect(!DecisionAnswer.isPassedOver(1, of: 2, in: reply) && DecisionAnswer(1, of: 2, in: reply) != nil)
        for (index, count) in [(2, 2), (-1, 2), (0, 1), (0, 3)] {
            #expect(!DecisionAnswer.isPassedOver(index, of: count, in: reply))
        }
    }

    @Test("A repeated check names the candidate that was admitted, where that is one there can be")
    func repeated() {
        func answer(_ candidate: Int) -> CallAnswer? {
            let bytes = [5] + littleEndian(candidate, 2) + littleEndian(0, 12)
            return DecisionAnswer(0, of: 1, in: reply([bytes]))?.decided(terms: 0, givesLease: false)
        }
        #expect(answer(0)?.verdict == .repeated && answer(0)?.admittedCandidate == nil)
        for number in [1, 16] { #expect(answer(number)?.admittedCandidate == number) }
        #expect(answer(17) == nil)
    }
}
