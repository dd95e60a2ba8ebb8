import Glibc

/// How long a load is measured, after its warm-up.
public enum LoadLength: Sendable, Equatable {
    /// 1 to 86,400 seconds.
    case seconds(Int)
    /// Until so many checks are answered, 1 to 10,000,000,000.
    case checks(Int)
}

/// How far a running load is, told once a second.
public struct LoadProgress: Sendable {
    /// Whether this second still belongs to the warm-up.
    public let warmingUp: Bool
    /// Whole seconds since the load began, warm-up included.
    public let elapsedSeconds: Int
    /// Checks answered since the last report.
    public let checks: Int
    /// Of a hundred parts of the measurement, how many are done.
    public let percent: Int
}

/// A closed-loop load on one thread: each connection sends its next request as soon as one is answered.
public struct Load: Sendable {
    /// How many connections a peer may close in one load; they are opened again.
    public static let maximumLostConnections = 100
    /// The most connections of a load.
    public static let maximumConnections = 4_096
    /// The most requests a connection may have unanswered.
    public static let maximumPipelineDepth = 64

    /// Where the load goes.
    public let target: Endpoint
    /// What it sends.
    public let traffic: Traffic
    /// How many connections it holds open.
    public let connections: Int
    /// How many requests each connection keeps unanswered.
    public let pipelineDepth: Int
    /// How long it runs before anything is counted.
    public let warmUpMilliseconds: Int
    /// How long it is measured.
    public let length: LoadLength
    /// Whose processor time it accounts for.
    public private(set) var watched: [WatchedProcess]

    /// A load that is ready to run.
    ///
    /// - Parameters:
    ///   - connections: 1 to 4,096.
    ///   - pipelineDepth: 1 to 64.
    ///   - warmUpMilliseconds: 0 to 60,000.
    ///   - watched: processes whose processor time the report is to hold.
    /// - Throws: `LoadError.invalid` for a value out of bounds.
    public init(
        target: Endpoint, traffic: Traffic, connections: Int = 64, pipelineDepth: Int = 1,
        warmUpMilliseconds: Int = 1_000, length: LoadLength = .seconds(10), watched: [WatchedProcess] = []
    ) throws(LoadError) {
        try Self.check("connections", connections, 1...Self.maximumConnections)
        try Self.check("pipeline", pipelineDepth, 1...Self.maximumPipelineDepth)
        try Self.check("warm-up", warmUpMilliseconds, 0...60_000)
        if traffic.followUp != nil { try Self.check("pipeline", pipelineDepth, 1...1) }
        switch length {
        case .seconds(let seconds): try Self.check("duration", seconds, 1...86_400)
        case .checks(let checks): try Self.check("checks", checks, 1...10_000_000_000)
        }
        self.target = target
        self.traffic = traffic
        self.connections = connections
        self.pipelineDepth = pipelineDepth
        self.warmUpMilliseconds = warmUpMilliseconds
        self.length = length
        self.watched = watched
    }

    /// The same load, accounting for other processes.
    public func watching(_ processes: [WatchedProcess]) -> Load {
        var load = self
        load.watched = processes
        return load
    }

    /// Connects, warms up, measures, and waits for the last answers. The calling thread does all of it.
    ///
    /// - Parameter progress: called about once a second, on the calling thread; what it takes is taken from the load.
    /// - Throws: `LoadError.cannotConnect`, `.noAnswer` where a request stood unanswered for 5 seconds,
    ///   `.connectionsLost`, `.malformedAnswer` or `.system`.
    public func run(progress: ((LoadProgress) -> Void)? = nil) throws(LoadError) -> LoadReport {
        let priority = BatchScheduling()
        defer { priority.end() }
        var loop = try LoadLoop(self)
        var meter = LoadMeter(self)
        try loop.start()
        while true {
            try loop.turn()
            if meter.advance(loop, progress: progress) { break }
            loop.recording = meter.measuring
        }
        try loop.drain()
        return meter.report(loop)
    }

    private static func check(_ option: String, _ value: Int, _ range: ClosedRange<Int>) throws(LoadError) {
        if range.contains(value) { return }
        let accepted = "\(range.lowerBound) to \(range.upperBound)"
        throw .invalid(option: option, value: String(value), accepted: accepted)
    }
}

/// Knows when the warm-up ends and when the measurement does, and what the processors had done by then.
struct LoadMeter {
    private let load: Load
    private let began = monotonicNanoseconds()
    private var measureBegan: UInt64 = 0
    private var elapsed: UInt64 = 0
    private var nextProgress: UInt64 = 1_000_000_000
    private var answeredAtProgress = 0
    private var before: [UInt64?] = []
    private var after: [UInt64?] = []
    private(set) var measuring = false

    init(_ load: Load) {
        self.load = load
    }

    /// Takes note of a turn of the loop; true when the measurement is over.
    mutating func advance(_ loop: borrowing LoadLoop, progress: ((LoadProgress) -> Void)?) -> Bool {
        let now = loop.now &- began
        if let progress, now >= nextProgress {
            progress(state(loop, now))
            answeredAtProgress = loop.answered
            nextProgress = (now / 1_000_000_000 + 1) * 1_000_000_000
        }
        if !measuring {
            guard now >= UInt64(load.warmUpMilliseconds) * 1_000_000 else { return false }
            measuring = true
            before = processorTimes()
            measureBegan = monotonicNanoseconds()
            return false
        }
        elapsed = loop.now > measureBegan ? loop.now - measureBegan : 0
        let finished =
            switch load.length {
            case .seconds(let seconds): elapsed >= UInt64(seconds) * 1_000_000_000
            case .checks(let checks): loop.tally.count >= checks
            }
        if finished { after = processorTimes() }
        return finished
    }

    func report(_ loop: borrowing LoadLoop) -> LoadReport {
        var processes: [LoadReport.ProcessorUse] = []
        for (index, name) in (load.watched.map(\.name) + ["load"]).enumerated() {
            guard let start = before[index], let end = after[index] else { continue }
            processes.append(.init(name: name, nanoseconds: end > start ? end - start : 0))
        }
        return LoadReport(
            target: load.target.description, connections: load.connections, pipelineDepth: load.pipelineDepth,
            elapsedNanoseconds: elapsed, tally: loop.tally, lostConnections: loop.lostConnections,
            answersWithWarmUp: loop.answered, latency: .init(loop.latencies), processors: processes)
    }

    private func state(_ loop: borrowing LoadLoop, _ now: UInt64) -> LoadProgress {
        let part =
            switch load.length {
            case .seconds(let seconds): Int(elapsed / 1_000_000) * 100 / (seconds * 1_000)
            case .checks(let checks): loop.tally.count * 100 / checks
            }
        return LoadProgress(
            warmingUp: !measuring, elapsedSeconds: Int(now / 1_000_000_000), checks: loop.answered - answeredAtProgress,
            percent: min(part, 100))
    }

    private func processorTimes() -> [UInt64?] {
        load.watched.map { processorNanoseconds(of: $0.id) } + [processorNanoseconds(of: getpid())]
    }
}
