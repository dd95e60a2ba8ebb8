import NIOCore
import RedisClient

/// One script's side of the pipeline: how requests are put to it in a batch, and how its answers are read. A value that
/// does no I/O.
///
/// Whatever uses a codec is specialised by the compiler: no request pays for the protocol.
protocol ScriptCodec {
    /// What waits for the script's answer.
    associatedtype Request: PendingRequest where Request.Codec == Self
    /// What the script decides about a request.
    associatedtype Decided
    /// What all requests of a batch are decided under, whatever is in force when the answer comes.
    associatedtype Conditions

    /// Which way of deciding the script is, for the page and the log.
    static var path: EnforcementState.Path { get }

    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String? { get set }
    /// What the batch that is being laid out is decided under.
    var conditions: Conditions { get }
    /// Requests in the batch that is being laid out.
    var count: Int { get }

    /// Takes one more request into the batch; false, and nothing taken, where the batch must be written first. An empty
    /// batch has room for any request.
    mutating func append(_ request: Request) -> Bool

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `inFull` or where there is no digest,
    /// and begins the next one.
    mutating func write(inFull: Bool, to buffer: inout ByteBuffer)

    /// The answer to request `index` of a batch; nil where the reply is not of the script's form.
    static func answer(
        _ index: Int, of batch: ScriptBatch<Self>, in reply: Reply, to request: Request
    ) -> ScriptAnswer<Decided>?

    /// The script's batcher on a lane.
    static func batcher(of lane: ScriptLane) -> ScriptBatcher<Self>
}

/// A request on its way to Redis and back. It is told once what became of it.
protocol PendingRequest {
    /// How it is put to Redis.
    associatedtype Codec: ScriptCodec where Codec.Request == Self

    /// When it arrived: its deadline runs from then.
    var arrivedAt: NIODeadline { get }

    /// The slot of its keys.
    func slot(by slots: UserSlots) -> HashSlot

    /// Redis has decided it.
    func decided(_ decided: Codec.Decided, in batch: ScriptBatch<Codec>, at now: NIODeadline, by engine: CheckEngine)

    /// It failed, alone, with an error of the script's; nothing of it was charged.
    func failed(_ error: String, by engine: CheckEngine)

    /// Redis has not decided it; it may have run.
    func undecided(because reason: FailureReason, by engine: CheckEngine)
}

/// What a script answers to one request.
enum ScriptAnswer<Decided> {
    case decided(Decided)
    /// This request failed, alone, and nothing of it was charged; the error's text.
    case failed(String)
}

extension ScriptAnswer: Equatable where Decided: Equatable {}

/// Requests in one call to Redis.
struct ScriptBatch<Codec: ScriptCodec> {
    var count: Int
    var conditions: Codec.Conditions
    var sentAt: NIODeadline
    /// Which memory the batch belongs to: a denial that was asked for before a reset must not be remembered.
    var memoryEpoch: Int
    /// Whether it went with the script's whole text.
    var isInFull: Bool
    var route: ScriptRoute
}
