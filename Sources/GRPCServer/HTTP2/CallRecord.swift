import DecisionTracing

/// One call of a connection, at an address that stays: the library holds it as the user data of the call's stream.
///
/// Nothing in it is reference counted, since the library's callbacks come by a dozen times for each call.
struct CallRecord {
    /// What is known of a call.
    struct State: OptionSet {
        let rawValue: UInt16

        static let isPost = State(rawValue: 1)
        static let isGRPC = State(rawValue: 2)
        static let hasHeaders = State(rawValue: 4)
        /// The client has sent all it will.
        static let hasEnded = State(rawValue: 8)
        /// A call whose one answer is submitted.
        static let isAnswered = State(rawValue: 16)
        /// Its stream is gone.
        static let isClosed = State(rawValue: 32)
        static let isListed = State(rawValue: 64)
        /// A call of many messages.
        static let isStreaming = State(rawValue: 128)
        /// A call of many messages to which nothing more is sent than what is there.
        static let isFinished = State(rawValue: 256)
        /// A call of many messages of which nothing is to be sent now.
        static let isDeferred = State(rawValue: 512)
        /// A call of many messages whose response has begun.
        static let hasResponse = State(rawValue: 1024)
        /// Something that it was answered waits to be sent.
        static let isUnsent = State(rawValue: 2048)
    }

    var state: State = []
    var streamID: Int32 = 0
    /// Which of the table's methods it is; negative where there is none of that path.
    var method = -1
    var failure = CallFailure.none
    var headerBytes = 0
    /// When its headers arrived, in nanoseconds of the loop's clock.
    var arrival: UInt64 = 0
    /// In which of the connection's periods that was, or in which its answer came.
    var period = 0
    /// How long the client waits, in nanoseconds.
    var timeout = UInt64.max
    /// What the client says of its trace, where that is asked, and how often it says it.
    var trace: TraceContext?
    var traceHeaders = 0
    /// The message behind its prefix, where it lies whole in the bytes that are being read.
    var message: UnsafePointer<UInt8>?
    var messageLength = 0
    /// What has arrived of messages, prefixes included.
    var gathered = ByteStore()
    /// What is to be sent, prefixes included, and how much of it was.
    var reply = ByteStore()
    var replySent = 0
    /// The code that the trailer of a call of many messages says.
    var trailingCode = 0
    /// The next on the list that it stands on.
    var next: UnsafeMutablePointer<CallRecord>?
}

/// What is wrong with a call, as the callbacks find it.
enum CallFailure: UInt8 {
    case none
    case notPost
    case notGRPC
    case unknownMethod
    case compressed
    case messageTooLarge
    case severalMessages
    case noMessage
    case partialMessage
    case tooMuchGathered
    case tooManyStreamingCalls
    case incomplete
}

/// Bytes that grow at an address of their own, without a class.
struct ByteStore {
    private(set) var bytes: UnsafeMutablePointer<UInt8>?
    private(set) var count = 0
    private(set) var capacity = 0

    /// Makes room for `count` bytes in all, for twice as many as before where that is more.
    mutating func reserve(_ count: Int) {
        guard count > capacity else { return }
        let larger = max(count, 2 * capacity, 64)
        let new = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
        if let bytes {
            new.update(from: bytes, count: self.count)
            bytes.deallocate()
        }
        bytes = new
        capacity = larger
    }

    mutating func append(_ source: UnsafePointer<UInt8>, count added: Int) {
        guard added > 0 else { return }
        reserve(count + added)
        bytes?.advanced(by: count).update(from: source, count: added)
        count += added
    }

    mutating func append(_ byte: UInt8) {
        reserve(count + 1)
        bytes?[count] = byte
        count += 1
    }

    /// Takes out the first bytes.
    mutating func drop(_ dropped: Int) {
        precondition(dropped <= count)
        if let bytes, dropped < count { bytes.update(from: bytes + dropped, count: count - dropped) }
        count -= dropped
    }

    /// Empties it, and keeps no more room than `kept` for the next.
    mutating func clear(keeping kept: Int = 512) {
        count = 0
        guard capacity > kept else { return }
        bytes?.deallocate()
        bytes = nil
        capacity = 0
    }
}
