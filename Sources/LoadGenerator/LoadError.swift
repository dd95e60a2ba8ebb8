/// Why a load could not be prepared or carried through. Every case reads as "cannot …: why".
public enum LoadError: Error, Equatable, Sendable, CustomStringConvertible {
    /// An option is out of its bounds; nothing was opened.
    case invalid(option: String, value: String, accepted: String)
    /// Nobody listens at the target, or the connection was refused. `reason` is the system's own word for it.
    case cannotConnect(target: String, reason: String)
    /// A request stood unanswered for 5 seconds.
    case noAnswer(target: String)
    /// The peer closed more connections than a load puts up with (`Load.maximumLostConnections`).
    case connectionsLost(target: String, count: Int)
    /// The peer sent bytes that are no answer of the protocol.
    case malformedAnswer(target: String)
    /// Redis answered a command of the preparation with an error.
    case redisError(target: String, answer: String)
    /// The user that is to be denied still has budget after every try.
    case cannotExhaust(target: String, reason: String)
    /// A call to the system failed.
    case system(call: String, reason: String)

    /// One line for people.
    public var description: String {
        switch self {
        case .invalid(let option, let value, let accepted):
            "cannot use \(option) \(value): accepted is \(accepted)"
        case .cannotConnect(let target, let reason):
            "cannot connect to \(target): \(reason)"
        case .noAnswer(let target):
            "cannot load \(target): no answer within 5 s"
        case .connectionsLost(let target, let count):
            "cannot load \(target): it closed \(count) connections without an answer"
        case .malformedAnswer(let target):
            "cannot load \(target): its answer is not of the protocol"
        case .redisError(let target, let answer):
            "cannot use Redis at \(target): \(answer)"
        case .cannotExhaust(let target, let reason):
            "cannot use up a user's budget at \(target): \(reason)"
        case .system(let call, let reason):
            "cannot \(call): \(reason)"
        }
    }
}
