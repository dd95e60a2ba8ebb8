/// What a load found. Every number is an integer; latencies and processor time are in nanoseconds.
public struct LoadReport: Sendable {
    /// Answers by what they said.
    public struct Tally: Sendable, Equatable {
        /// 200, or admitted by the script.
        public var allowed = 0
        /// 429, or denied by the script.
        public var denied = 0
        /// 200 with `"degraded":true`.
        public var degraded = 0
        /// Any other status, or an error from Redis.
        public var other = 0

        /// All of them.
        public var count: Int { allowed + denied + degraded + other }

        /// Nothing yet.
        public init() {}

        mutating func add(_ outcome: Outcome) {
            switch outcome {
            case .allowed: allowed += 1
            case .denied: denied += 1
            case .degraded: degraded += 1
            case .other: other += 1
            }
        }
    }

    /// Latencies in nanoseconds, to 0.4 %; the longest exactly.
    public struct Latency: Sendable, Equatable {
        /// Half of the checks took no longer.
        public let p50: UInt64
        /// 90 % took no longer.
        public let p90: UInt64
        /// 99 % took no longer.
        public let p99: UInt64
        /// 99.9 % took no longer.
        public let p999: UInt64
        /// The longest.
        public let maximum: UInt64

        init(_ histogram: LatencyHistogram) {
            p50 = histogram.nanoseconds(atPermyriad: 5_000)
            p90 = histogram.nanoseconds(atPermyriad: 9_000)
            p99 = histogram.nanoseconds(atPermyriad: 9_900)
            p999 = histogram.nanoseconds(atPermyriad: 9_990)
            maximum = histogram.maximumNanoseconds
        }
    }

    /// Processor time that a process used during the measurement.
    public struct ProcessorUse: Sendable, Equatable {
        /// As the load was told; `load` is the load itself.
        public let name: String
        /// User and system time of all its threads.
        public let nanoseconds: UInt64
    }

    /// Where the load went.
    public let target: String
    /// How many connections it held.
    public let connections: Int
    /// How many requests each kept unanswered.
    public let pipelineDepth: Int
    /// How long the measurement took.
    public let elapsedNanoseconds: UInt64
    /// Answers during the measurement.
    public let tally: Tally
    /// Connections that the peer closed; their unanswered requests are counted nowhere else.
    public let lostConnections: Int
    /// All answers, those of the warm-up and the last after the measurement included.
    public let answersWithWarmUp: Int
    /// From just before a request is sent to when its answer has been received.
    public let latency: Latency
    /// The watched processes in their order, then the load; one whose time cannot be read is left out.
    public let processors: [ProcessorUse]

    /// Checks answered in a second, rounded down.
    public var checksPerSecond: Int {
        guard elapsedNanoseconds > 0 else { return 0 }
        return Int(
            elapsedNanoseconds.dividingFullWidth(UInt64(tally.count).multipliedFullWidth(by: 1_000_000_000)).quotient)
    }

    /// Processor time of a process for each check, in nanoseconds; nil where it is not known.
    public func nanosecondsPerCheck(of name: String) -> Int? {
        guard tally.count > 0, let use = processors.first(where: { $0.name == name }) else { return nil }
        return Int(use.nanoseconds) / tally.count
    }
}
