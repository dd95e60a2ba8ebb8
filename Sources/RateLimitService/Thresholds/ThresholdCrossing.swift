public import RateLimitCore

/// How much of a limit is told once, to whoever is told of crossings.
public enum LimitThreshold: Hashable, Sendable {
    /// A share of the quota in force, in thousandths: one of ``RateLimitCore/LimitDefinition/warnAtPerMille``, or 1,000,
    /// which is the quota.
    case share(perMille: Int)
    /// The limit's ``RateLimitCore/LimitDefinition/softQuota``.
    case softQuota
}

/// That one call has taken a window from below a threshold to it or above. Redis says so to that call alone, whichever
/// replica it came by.
///
/// What leases hold has not been charged, and crosses nothing. A calendar's period tells each threshold once, also after a
/// refund; a window that slides tells it again when it has fallen below, and so does each that begins anew.
public struct ThresholdCrossing: Hashable, Sendable {
    /// The limit's name.
    public var limit: LimitName
    /// What it counts, and so ``amount``, ``quota`` and ``used`` do.
    public var unit: LimitUnit
    /// What it does about calls above its quota.
    public var mode: LimitMode
    /// Whose window it is.
    public var owner: WindowOwner
    /// By which values it is one of many; nil where there are none.
    public var values: WindowValues?
    /// What was crossed. A call that crosses several is told of each, the lowest first.
    public var threshold: LimitThreshold
    /// How much that is.
    public var amount: Int
    /// The quota in force for ``owner``; nil where it is unlimited.
    public var quota: Int?
    /// What the window counts with the call, without what leases hold: at least ``amount``.
    public var used: Int
    /// Which of a calendar's periods it is; nil for every other window.
    public var period: CalendarPeriod?
    /// The length of a window that slides, in milliseconds; nil for every other.
    public var windowMilliseconds: Int?
    /// When it was, by Redis's clock, in milliseconds since 1970.
    public var unixMilliseconds: Int
}
