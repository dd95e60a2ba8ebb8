import NIOCore
import RateLimitCore
import RedisClient

/// How a batch of checks is put to `check.lua`, and how its answer is read.
///
/// The script file says what KEYS, ARGV and the reply are; this is its other side.
struct CheckScript {
    /// The script's text, as it stands in `Scripts/check.lua`.
    static let text = String(decoding: PackageResources.check_lua, as: UTF8.self)

    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String?

    /// The key's text up to a user's UUID, and the bulk string's header that counts both: the same for each check.
    private let keyStart: [UInt8]
    /// The prefix and the colon behind it.
    private let keyPrefix: [UInt8]
    private var limitArguments: [UInt8]
    /// What the batch that is being laid out is decided under.
    private(set) var conditions: Limit.Numbers

    /// The batch that is being laid out.
    private(set) var count = 0
    private var keys = ByteBuffer()
    private var costs = ByteBuffer()

    init(keyPrefix: String, limit: Limit) {
        let length = keyPrefix.utf8.count + 1 + SubjectID.uuidLength
        keyStart = Array("$\(length)\r\n\(keyPrefix):".utf8)
        self.keyPrefix = Array("\(keyPrefix):".utf8)
        limitArguments = Self.arguments(limit)
        conditions = limit.numbers
    }

    /// Puts a limit in force, where no batch has been begun.
    mutating func setLimit(_ limit: Limit) {
        precondition(count == 0)
        conditions = limit.numbers
        limitArguments = Self.arguments(limit)
    }

    private static func arguments(_ limit: Limit) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeRESPBulk(decimal: limit.quota)
        buffer.writeRESPBulk(decimal: limit.windowMilliseconds)
        return Array(buffer.readableBytesView)
    }

    /// Takes one more check into the batch that is being laid out.
    mutating func append(_ user: SubjectID, cost: Int) {
        count += 1
        costs.writeRESPBulk(decimal: cost)
        guard user.isUUID else { return appendKey(of: user) }
        let length = keyStart.count + SubjectID.uuidLength + 2
        keys.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { target in
            guard let base = target.baseAddress else { return 0 }
            keyStart.withUnsafeBytes {
                base.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(base), byteCount: $0.count)
            }
            user.writeUUID(to: base + keyStart.count)
            target[length - 2] = 0x0d
            target[length - 1] = 0x0a
            return length
        }
    }

    /// Lays out the key of a user who is no UUID.
    @inline(never)
    private mutating func appendKey(of user: SubjectID) {
        user.withKeyName(of: .user) { name in
            keys.writeString("$\(keyPrefix.count + name.count)\r\n")
            keys.writeBytes(keyPrefix)
            keys.writeBytes(name)
            keys.writeString("\r\n")
        }
    }

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `inFull` or where there is no digest,
    /// and begins the next one.
    mutating func write(inFull: Bool, to buffer: inout ByteBuffer) {
        buffer.writeRESPArray(count: 5 + 2 * count)
        if let digest, !inFull {
            buffer.writeRESPBulk("EVALSHA".utf8)
            buffer.writeRESPBulk(digest.utf8)
        } else {
            buffer.writeRESPBulk("EVAL".utf8)
            buffer.writeRESPBulk(PackageResources.check_lua)
        }
        buffer.writeRESPBulk(decimal: count)
        buffer.writeImmutableBuffer(keys)
        buffer.writeBytes(limitArguments)
        buffer.writeImmutableBuffer(costs)
        keys.clear()
        costs.clear()
        count = 0
    }

    /// What the script can count and wait for: a Lua number is exact up to here. Whatever else stands in a reply would
    /// be reckoned with and end the process.
    private static let numbers = 0...1 << 53

    /// The answer to check `index` of a batch of `count`; nil when the reply is not of the script's form.
    static func answer(_ index: Int, of count: Int, in reply: Reply, quota: Int) -> ScriptAnswer<Decision>? {
        guard reply.elements.count == 1 + 3 * count else { return nil }
        let at = 1 + 3 * index
        guard case .integer(let used) = reply.elements[at + 1], case .integer(let reset) = reply.elements[at + 2],
            numbers.contains(used), numbers.contains(reset)
        else { return nil }
        switch reply.elements[at] {
        case .integer(let retry):
            guard retry == -1 || numbers.contains(retry) else { return nil }
            let verdict: Decision.Verdict =
                retry == 0 ? .allowed : (retry > 0 ? .denied(retryAfterMilliseconds: retry) : .deniedForGood)
            return .decided(Decision(verdict: verdict, quota: quota, used: used, resetAfterMilliseconds: reset))
        case .bulk, .error: return .failed(reply.text(of: reply.elements[at]) ?? "")
        case .status, .null, .array: return nil
        }
    }
}

extension CheckScript: ScriptCodec {
    static var path: EnforcementState.Path { .checks }

    static func batcher(of lane: ScriptLane) -> ScriptBatcher<CheckScript> { lane.checks }

    mutating func append(_ check: PendingCheck) -> Bool {
        append(check.user, cost: check.cost)
        return true
    }

    static func answer(
        _ index: Int, of batch: ScriptBatch<CheckScript>, in reply: Reply, to check: PendingCheck
    ) -> ScriptAnswer<Decision>? {
        answer(index, of: batch.count, in: reply, quota: batch.conditions.quota)
    }
}

/// A check on its way to Redis and back.
struct PendingCheck: PendingRequest {
    typealias Codec = CheckScript

    var user: SubjectID
    var cost: Int
    var ticket: Int
    var arrivedAt: NIODeadline
    var requester: any DecisionRequester

    func slot(by slots: UserSlots) -> HashSlot { slots.slot(of: user) }

    func decided(_ decision: Decision, in batch: ScriptBatch<CheckScript>, at now: NIODeadline, by engine: CheckEngine)
    {
        engine.decided(self, decision, in: batch, at: now)
    }

    func failed(_ error: String, by engine: CheckEngine) {
        // The user's window is kept by `decide.lua`.
        if error.hasPrefix("BUNDLE") { return engine.decideInBundle(self) }
        undecided(because: .redisError, by: engine)
    }

    func undecided(because reason: FailureReason, by engine: CheckEngine) { engine.undecided(self, because: reason) }
}
