/// What a limit does about a call that is above its quota.
public enum LimitMode: String, CaseIterable, Hashable, Sendable {
    /// It denies the call.
    case enforce
    /// It admits the call, charges nothing, and says that it would have denied it.
    case shadow
    /// It admits the call, charges it, and says that it is over.
    case soft
}
