/// The parts of the configuration that are read apart, so that what is wrong with one keeps back no other.
public enum ConfigurationPart: String, Sendable, CaseIterable {
    /// The options, of flags, environment and env file; and which limits file there is.
    case options
    /// What is in the limits file.
    case limits
    /// What is in the files of envoyproxy/ratelimit's configuration.
    case descriptors
}

/// How the readings of one part of the configuration went.
public struct ReadingRecord: Sendable, Equatable {
    /// When it was last put in force, in Unix seconds.
    public private(set) var lastSuccess: Int
    /// How many readings have failed since the start.
    public private(set) var failures = 0
    /// Why what was last read is not in force; nil where it is.
    public private(set) var problem: Problem?

    /// What keeps a part as it was.
    public struct Problem: Sendable, Equatable {
        /// What is wrong, on one line of at most ``maximumCharacters``.
        public let text: String
        /// The first reading that failed since the last that did not, in Unix seconds.
        public let since: Int

        /// How long the text may be.
        public static let maximumCharacters = 1_000
    }

    /// A part that was put in force at the start.
    public init(startedAt now: Int) { lastSuccess = now }

    /// Notes a reading, and why it failed where it did.
    ///
    /// - Returns: whether it differs from the one before in what is wrong.
    @discardableResult
    public mutating func note(_ error: ConfigurationError?, at now: Int) -> Bool {
        let former = problem
        if let error {
            failures += 1
            let text = error.problems.map(\.description).joined(separator: "; ")
            problem = Problem(
                text: printable(text, maximumCharacters: Problem.maximumCharacters), since: former?.since ?? now)
        } else {
            lastSuccess = now
            problem = nil
        }
        return former?.text != problem?.text
    }
}

/// How the readings of all parts went.
public struct ReadingRecords: Sendable, Equatable {
    private var options: ReadingRecord
    private var limits: ReadingRecord
    private var descriptors: ReadingRecord

    /// All parts were put in force at the start, in Unix seconds.
    public init(startedAt now: Int) {
        options = ReadingRecord(startedAt: now)
        limits = options
        descriptors = options
    }

    /// The record of one part.
    public subscript(part: ConfigurationPart) -> ReadingRecord {
        get {
            switch part {
            case .options: options
            case .limits: limits
            case .descriptors: descriptors
            }
        }
        set {
            switch part {
            case .options: options = newValue
            case .limits: limits = newValue
            case .descriptors: descriptors = newValue
            }
        }
    }

    /// The member `configuration` of `GET /healthz`: whether what is in force is what was last read, and why not.
    public func healthJSON() -> String {
        let problems = ConfigurationPart.allCases.compactMap { part in
            self[part].problem.map {
                "{\"part\":\"\(part.rawValue)\",\"since\":\($0.since),\"problem\":\(quoted($0.text))}"
            }
        }
        let state = problems.isEmpty ? "current" : "stale"
        return "{\"state\":\"\(state)\",\"problems\":[\(problems.joined(separator: ","))]}"
    }

    /// The member `readings` of `GET /v1/config`: one object for each part.
    func json() -> String {
        let objects = ConfigurationPart.allCases.map { part in
            let record = self[part]
            return
                "{\"part\":\"\(part.rawValue)\",\"last_success\":\(record.lastSuccess),\"failures\":\(record.failures),"
                + "\"failing_since\":\(record.problem.map { "\($0.since)" } ?? "null"),"
                + "\"problem\":\(record.problem.map { quoted($0.text) } ?? "null")}"
        }
        return "[\(objects.joined(separator: ","))]"
    }
}
