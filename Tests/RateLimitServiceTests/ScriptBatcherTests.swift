import NIOCore
import RateLimitCore
import RedisClient
import Testing

@testable import RateLimitService

@Suite("The batcher of what waits for Redis")
struct ScriptBatcherTests {
    private let batcher = ScriptBatcher(
        keyPrefix: "x", limit: Limit(name: "requests", quota: 20, windowMilliseconds: 1_000))
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    init() { batcher.digest = "digest" }

    private func at(_ milliseconds: Int64) -> NIODeadline { start + .milliseconds(milliseconds) }

    /// Lays out checks that are told apart by their costs.
    private func append(_ numbers: Int..., at milliseconds: Int64 = 0) {
        for number in numbers { append([number], at: milliseconds) }
    }

    private func append(_ numbers: [Int], at milliseconds: Int64 = 0) {
        for number in numbers {
            batcher.append(SubjectID(high: 1, low: 1), cost: number, at: at(milliseconds))
        }
    }

    /// The costs in the command that is written, behind what the script is called by.
    private func write(withSource: Bool = false, at milliseconds: Int64 = 0) throws -> String {
        let bytes = batcher.written(withSource: withSource, at: at(milliseconds))
        let reader = ReplyReader()
        try bytes.withUnsafeBytes { try reader.feed($0) }
        let command = try #require(try reader.next())
        let words = command.elements.compactMap { element -> [UInt8]? in
            if case .bulk(let range) = element { Array(command.bytes[range]) } else { nil }
        }
        let operands = words[words.count - 2]
        let costs = stride(from: 0, to: operands.count, by: 6).map { String(operands[$0]) }
        let script = words[0] == Array("EVALSHA".utf8) ? String(decoding: words[1], as: UTF8.self) : "text"
        return "\(script):\(costs.joined(separator: " "))"
    }

    private func dequeueRequests(_ count: Int) -> [Int] {
        (0..<count).compactMap { _ in
            let request = batcher.dequeueRequest()
            return request.call == nil ? request.cost : nil
        }
    }

    @Test("gives each batch the requests it was laid out with, in the order in which they were sent")
    func order() throws {
        append(1, 2)
        #expect(try write() == "digest:1 2")
        append(3)
        #expect(try write() == "digest:3")
        append(4)
        #expect(batcher.pendingCount == 4 && batcher.unsentCount == 1)
        let first = try #require(batcher.dequeueBatch())
        #expect(dequeueRequests(first.count) == [1, 2])
        let second = try #require(batcher.dequeueBatch())
        #expect(dequeueRequests(second.count) == [3])
        #expect(batcher.dequeueBatch() == nil && batcher.pendingCount == 1)
    }

    @Test("takes nothing where the batch has no room, and any request into the next")
    func room() throws {
        func append(_ quota: Int) -> Bool {
            let term = LimitTerm(id: 1, kind: .concurrency, quota: quota, cost: 1)
            let request = DecisionCall(.check, subjects: [SubjectTerms(key: [1], terms: [term])])
            return batcher.append(PendingRequest(request, arrivedAt: at(0)) { _ in })
        }
        for quota in 0..<DecisionBatch.mostPlans { #expect(append(quota)) }
        #expect(!append(1_000))
        #expect(batcher.pendingCount == 256 && batcher.unsentCount == 256)
        _ = batcher.written()
        #expect(append(1_000))
        #expect(batcher.pendingCount == 257 && batcher.unsentCount == 1)
    }

    @Test("counts a batch's deadline from the arrival of its oldest request")
    func oldest() throws {
        append(1, at: 5)
        append(2, at: 9)
        #expect(batcher.oldestUnsent == at(5))
        _ = try write(at: 10)
        append(3, at: 11)
        #expect(batcher.oldestUnsent == at(11))
    }

    @Test("lays checks and calls out together, in one command")
    func together() throws {
        let limit = LimitDefinition(
            name: try #require(LimitName("calls")), scope: .user, unit: .requests, quota: 20,
            window: .sliding(milliseconds: 1_000))
        let limits = LimitsInForce(rules: QuotaRules(limits: LimitSet(limit), policy: .min))
        let user = SubjectID(high: 1, low: 1)
        let call = try planned(CallRequest(user: user, cost: 7), under: limits)
        append(1)
        #expect(batcher.append(PendingRequest(call, ticket: 0, arrivedAt: at(0), requester: NoRequester())))
        append(2)
        let bytes = batcher.written()
        // Three requests, of the first plan, the second and the first.
        let expected =
            Array("$3\r\n".utf8) + [0, 1, 0] + Array("\r\n$18\r\n".utf8) + [1, 7, 2].flatMap { littleEndian($0, 6) }
        #expect(bytes.firstRange(of: expected) != nil)
        #expect(try #require(batcher.dequeueBatch()).count == 3)
    }

    @Test("a batch keeps the limit of checks that it was laid out under")
    func limit() throws {
        append(1)
        _ = try write()
        batcher.setLimit(Limit(name: "requests", quota: 8, windowMilliseconds: 2_000))
        append(2)
        _ = try write()
        #expect(batcher.dequeueBatch()?.limit == Limit.Numbers(quota: 20, windowMilliseconds: 1_000))
        #expect(batcher.dequeueBatch()?.limit == Limit.Numbers(quota: 8, windowMilliseconds: 2_000))
    }

    @Test("sends the whole text where there is no digest, and says so of the batch")
    func withSource() throws {
        append(1)
        #expect(try write(withSource: true) == "text:1")
        #expect(batcher.dequeueBatch()?.carriesSource == true)
        batcher.digest = nil
        append(2)
        #expect(try write() == "text:2")
        #expect(batcher.dequeueBatch()?.carriesSource == true)
    }

    @Test("what is laid out again behind others keeps its place among all that is sent")
    func again() throws {
        append(1, 2)
        _ = try write()
        append(3)
        _ = try write()
        let unknown = try #require(batcher.dequeueBatch())
        append(dequeueRequests(unknown.count))
        #expect(try write(withSource: true) == "text:1 2")
        #expect(dequeueRequests(try #require(batcher.dequeueBatch()).count) == [3])
        #expect(dequeueRequests(try #require(batcher.dequeueBatch()).count) == [1, 2])
    }

    /// Sends a batch that Redis answers with NOSCRIPT.
    private func meetUnknownScript(sentAt: Int64, answeredAt: Int64) throws {
        append(1)
        _ = try write(at: sentAt)
        let batch = try #require(batcher.dequeueBatch())
        _ = batcher.dequeueRequest()
        batcher.scriptWasUnknown(in: batch, at: at(answeredAt))
    }

    @Test("a script that is unknown 17 times in a row is sent in full from then on")
    func neverKept() throws {
        for round in 0..<17 {
            #expect(batcher.digest != nil)
            try meetUnknownScript(sentAt: Int64(10 * round), answeredAt: Int64(10 * round + 5))
        }
        #expect(batcher.digest == nil)
    }

    @Test("a script that is known in between is sent by its digest")
    func knownBetween() throws {
        for round in 0..<40 {
            try meetUnknownScript(sentAt: Int64(10 * round), answeredAt: Int64(10 * round + 5))
            if round % 16 == 15 { batcher.scriptWasKnown() }
        }
        #expect(batcher.digest != nil)
    }

    @Test("batches that were under way when a script was lost count as one")
    func lostOnce() throws {
        for round in 0..<40 { try meetUnknownScript(sentAt: 0, answeredAt: Int64(100 + round)) }
        #expect(batcher.digest != nil)
    }
}
