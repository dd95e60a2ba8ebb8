/// How much one user may consume in any span of time as long as the window.
public struct Limit: Hashable, Sendable {
    /// The name answers carry; for the environment's one limit `requests`.
    public let name: String
    /// The most that may be admitted in one window; 0 switches the limit off.
    public let quota: Int
    /// The window's length in milliseconds.
    public let windowMilliseconds: Int

    /// The bounds within which a limit is exact: the script keeps sums in 48 bits and a year in a Double's 53.
    public static let quotas = 0...1_000_000_000_000
    /// From a second to 365 days.
    public static let windows = 1_000...31_536_000_000
    /// What one check may cost.
    public static let costs = 1...1_000_000

    /// Makes a limit; values outside ``quotas`` and ``windows`` are a programming error.
    public init(name: String, quota: Int, windowMilliseconds: Int) {
        precondition(Self.quotas.contains(quota) && Self.windows.contains(windowMilliseconds))
        self.name = name
        self.quota = quota
        self.windowMilliseconds = windowMilliseconds
    }

    /// The numbers of a limit, without its name: what a decision carries of the limit that it was reached under, so that
    /// all that is said of the decision speaks of this one limit, whatever is in force by then.
    public struct Numbers: Hashable, Sendable {
        /// The most that may be admitted in one window; 0 where the limit is off.
        public var quota: Int
        /// The window's length in milliseconds.
        public var windowMilliseconds: Int

        /// Makes the numbers of a limit.
        @inlinable
        public init(quota: Int, windowMilliseconds: Int) {
            self.quota = quota
            self.windowMilliseconds = windowMilliseconds
        }
    }

    /// Its numbers.
    public var numbers: Numbers { Numbers(quota: quota, windowMilliseconds: windowMilliseconds) }

    /// Whether the limit is switched off.
    public var isOff: Bool { quota == 0 }

    /// This limit's share for one of `replicas` that cannot see each other, rounded up so that no share is 0.
    public func share(ofReplicas replicas: Int) -> Limit {
        Limit(name: name, quota: (quota + replicas - 1) / replicas, windowMilliseconds: windowMilliseconds)
    }
}
