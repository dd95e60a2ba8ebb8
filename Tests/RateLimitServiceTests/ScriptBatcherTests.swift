import NIOCore
import RedisClient
import Testing

@testable import RateLimitService

/// A script that is asked for numbers; a batch has room for three below 100, and for any first one.
private struct NumberCodec: ScriptCodec {
    static var path: EnforcementState.Path { .checks }
    static func batcher(of lane: ScriptLane) -> ScriptBatcher<NumberCodec> { preconditionFailure("there is no lane") }

    var digest: String? = "digest"
    var conditions = 0
    private var numbers: [Int] = []

    var count: Int { numbers.count }

    mutating func append(_ request: PendingNumber) -> Bool {
        guard numbers.isEmpty || (request.number < 100 && numbers.count < 3) else { return false }
        numbers.append(request.number)
        return true
    }

    mutating func write(inFull: Bool, to buffer: inout ByteBuffer) {
        buffer.writeString("\(inFull ? "text" : digest ?? "none"):\(numbers.map(String.init).joined(separator: " ")) ")
        numbers = []
    }

    static func answer(
        _ index: Int, of batch: ScriptBatch<NumberCodec>, in reply: Reply, to request: PendingNumber
    ) -> ScriptAnswer<Int>? { nil }
}

private struct PendingNumber: PendingRequest {
    typealias Codec = NumberCodec

    var number: Int
    var arrivedAt: NIODeadline

    func slot(by slots: UserSlots) -> HashSlot { HashSlot(key: [UInt8(truncatingIfNeeded: number)]) }
    func decided(_ decided: Int, in batch: ScriptBatch<NumberCodec>, at now: NIODeadline, by engine: CheckEngine) {}
    func failed(_ error: String, by engine: CheckEngine) {}
    func undecided(because reason: FailureReason, by engine: CheckEngine) {}
}

@Suite("The batcher of a script's requests")
struct ScriptBatcherTests {
    private let batcher = ScriptBatcher(NumberCodec())
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private func at(_ milliseconds: Int64) -> NIODeadline { start + .milliseconds(milliseconds) }

    @discardableResult
    private func append(_ numbers: Int..., at milliseconds: Int64 = 0) -> Bool {
        numbers.allSatisfy { batcher.append(PendingNumber(number: $0, arrivedAt: at(milliseconds))) }
    }

    private func write(inFull: Bool = false, at milliseconds: Int64 = 0) -> String {
        var buffer = ByteBuffer()
        batcher.write(inFull: inFull, at: at(milliseconds), memoryEpoch: 0, by: .direct, to: &buffer)
        return String(buffer: buffer)
    }

    private func takeRequests(_ count: Int) -> [Int] { (0..<count).compactMap { _ in batcher.takeRequest()?.number } }

    @Test("gives each batch the requests it was laid out with, in the order in which they were sent")
    func order() throws {
        append(1, 2)
        #expect(write() == "digest:1 2 ")
        append(3)
        #expect(write() == "digest:3 ")
        append(4)
        #expect(batcher.pendingCount == 4 && batcher.unsentCount == 1)
        let first = try #require(batcher.takeBatch())
        #expect(takeRequests(first.count) == [1, 2])
        let second = try #require(batcher.takeBatch())
        #expect(takeRequests(second.count) == [3])
        #expect(batcher.takeBatch() == nil && batcher.pendingCount == 1)
    }

    @Test("takes nothing where the batch has no room, and any request into the next")
    func room() {
        append(1, 2)
        #expect(!append(100))
        #expect(batcher.pendingCount == 2 && batcher.unsentCount == 2)
        #expect(write() == "digest:1 2 ")
        #expect(append(100))
    }

    @Test("counts a batch's deadline from the arrival of its oldest request")
    func oldest() {
        append(1, at: 5)
        append(2, at: 9)
        #expect(batcher.oldestUnsent == at(5))
        _ = write(at: 10)
        append(3, at: 11)
        #expect(batcher.oldestUnsent == at(11))
    }

    @Test("a batch keeps the conditions it was laid out under")
    func conditions() {
        append(1)
        batcher.codec.conditions = 7
        _ = write()
        batcher.codec.conditions = 8
        #expect(batcher.takeBatch()?.conditions == 7)
    }

    @Test("sends the whole text where there is no digest, and says so of the batch")
    func inFull() {
        append(1)
        #expect(write(inFull: true) == "text:1 ")
        #expect(batcher.takeBatch()?.isInFull == true)
        batcher.codec.digest = nil
        append(2)
        #expect(write() == "text:2 ")
        #expect(batcher.takeBatch()?.isInFull == true)
    }

    @Test("what is laid out again behind others keeps its place among all that is sent")
    func again() throws {
        append(1, 2)
        _ = write()
        append(3)
        _ = write()
        let unknown = try #require(batcher.takeBatch())
        for number in takeRequests(unknown.count) { append(number) }
        #expect(write(inFull: true) == "text:1 2 ")
        #expect(takeRequests(try #require(batcher.takeBatch()).count) == [3])
        #expect(takeRequests(try #require(batcher.takeBatch()).count) == [1, 2])
    }

    /// Sends a batch that Redis answers with NOSCRIPT.
    private func meetUnknownScript(sentAt: Int64, answeredAt: Int64) throws {
        append(1)
        _ = write(at: sentAt)
        let batch = try #require(batcher.takeBatch())
        _ = batcher.takeRequest()
        batcher.scriptWasUnknown(in: batch, at: at(answeredAt))
    }

    @Test("a script that is unknown 17 times in a row is sent in full from then on")
    func neverKept() throws {
        for round in 0..<17 {
            #expect(batcher.codec.digest != nil)
            try meetUnknownScript(sentAt: Int64(10 * round), answeredAt: Int64(10 * round + 5))
        }
        #expect(batcher.codec.digest == nil)
    }

    @Test("a script that is known in between is sent by its digest")
    func knownBetween() throws {
        for round in 0..<40 {
            try meetUnknownScript(sentAt: Int64(10 * round), answeredAt: Int64(10 * round + 5))
            if round % 16 == 15 { batcher.scriptWasKnown() }
        }
        #expect(batcher.codec.digest != nil)
    }

    @Test("batches that were under way when a script was lost count as one")
    func lostOnce() throws {
        for round in 0..<40 { try meetUnknownScript(sentAt: 0, answeredAt: Int64(100 + round)) }
        #expect(batcher.codec.digest != nil)
    }
}
