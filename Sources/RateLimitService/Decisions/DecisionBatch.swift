import NIOCore
import RedisClient

/// Requests that are being laid out for one call of the script, whatever they ask: their keys, their plans and their
/// operands. The script says what these are; this is its other side.
struct DecisionBatch {
    /// A request names its plan by a byte.
    static let mostPlans = 256

    private(set) var count = 0
    private var keyCount = 0
    private var keys = ByteBuffer()
    private var planIndexes = ByteBuffer()
    private var operands = ByteBuffer()
    private var plans: [DecisionPlan] = []
    private var lastIndex = 0

    /// Begins a request: its keys, its id where the plan has one and its amounts are to follow. False, and nothing done,
    /// where there is no room for another plan; an empty batch has room.
    @inline(__always)
    mutating func begin(_ plan: DecisionPlan) -> Bool {
        if lastIndex >= plans.count || plans[lastIndex] !== plan {
            guard let index = index(of: plan) else { return false }
            lastIndex = index
        }
        planIndexes.writeInteger(UInt8(lastIndex))
        keyCount += plan.subjectCount
        count += 1
        return true
    }

    /// Whether there is room for so many more plans.
    func hasRoom(forPlans count: Int) -> Bool { plans.count + count <= Self.mostPlans }

    private mutating func index(of plan: DecisionPlan) -> Int? {
        if let index = plans.firstIndex(where: { $0.isEqual(to: plan) }) { return index }
        guard plans.count < Self.mostPlans else { return nil }
        plans.append(plan)
        return plans.count - 1
    }

    /// Writes keys, each as a bulk string.
    @inline(__always)
    mutating func writeKeys(_ write: (inout ByteBuffer) -> Void) { write(&keys) }

    mutating func writeAmount(_ amount: Int) { operands.writeAmount(amount) }

    mutating func writeID(_ id: DecisionID) {
        switch id {
        case .lease(let lease):
            operands.writeInteger(lease.id)
            operands.writeAmount(lease.instants.givenAtMilliseconds)
            operands.writeAmount(lease.instants.lapsesAtMilliseconds)
            operands.writeInteger(UInt16(lease.instants.spreadMilliseconds), endianness: .little)
        case .usage(let digest), .check(let digest), .refund(let digest):
            operands.writeBytes(digest.bytes)
            operands.writeRepeatingByte(0, count: 22 - UsageDigest.length)
        case .candidate(let digest, let number):
            operands.writeBytes(digest.bytes)
            operands.writeInteger(UInt8(number))
            operands.writeRepeatingByte(0, count: 21 - UsageDigest.length)
        }
    }

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `withSource` or where there is no digest,
    /// and begins the next one.
    mutating func write(digest: String?, withSource: Bool, to buffer: inout ByteBuffer) {
        buffer.writeRESPArray(count: 5 + keyCount + plans.count)
        if let digest, !withSource {
            buffer.writeRESPBulk("EVALSHA".utf8)
            buffer.writeRESPBulk(digest.utf8)
        } else {
            buffer.writeRESPBulk("EVAL".utf8)
            buffer.writeRESPBulk(DecisionScript.bytes)
        }
        buffer.writeRESPBulk(decimal: keyCount)
        buffer.writeImmutableBuffer(keys)
        buffer.writeRESPBulk(planIndexes.readableBytesView)
        buffer.writeRESPBulk(operands.readableBytesView)
        for plan in plans { buffer.writeBytes(plan.argument) }
        keys.clear()
        planIndexes.clear()
        operands.clear()
        plans.removeAll(keepingCapacity: true)
        count = 0
        keyCount = 0
        lastIndex = 0
    }
}

/// The script that decides, of eight files.
enum DecisionScript {
    /// As it is sent. The lines of comments are empty, so that an error's line is that of the files one after another.
    static let bytes = withoutComments(files)

    static let files =
        PackageResources.decide_bundle_lua + PackageResources.decide_leases_lua + PackageResources.decide_window_lua
        + PackageResources.decide_values_lua + PackageResources.decide_operations_lua + PackageResources.decide_plan_lua
        + PackageResources.decide_lua + PackageResources.decide_hot_lua

    static let text = String(decoding: bytes, as: UTF8.self)

    /// A Lua text, which must have no long brackets, with each line empty that is a comment and nothing else.
    static func withoutComments(_ lua: [UInt8]) -> [UInt8] {
        let lines = lua.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let kept = lines.map { $0.drop { $0 == UInt8(ascii: " ") }.starts(with: "--".utf8) ? [] : $0 }
        return Array(kept.joined(separator: "\n".utf8))
    }
}
