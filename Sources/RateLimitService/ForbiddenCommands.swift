import Logging
import RedisClient
import Synchronization

/// Something that a Redis service may forbid, and that checks go without.
enum ForbiddenCommand: String {
    case scriptLoad = "SCRIPT LOAD"
    case evalsha = "EVALSHA"
    case subscribe = "SUBSCRIBE"
    case publish = "PUBLISH"

    /// What it means for whoever runs the daemon.
    var consequence: String {
        switch self {
        case .scriptLoad, .evalsha: "cannot use \(rawValue): each batch carries the script's whole text"
        case .subscribe: "cannot subscribe: a reset by another daemon holds here within a second and not at once"
        case .publish: "cannot publish: a reset by this daemon holds on others within a second and not at once"
        }
    }
}

/// Says of each command once that Redis forbids it: not on each event loop, and not again after each reconnect.
final class ForbiddenCommands: Sendable {
    private let said = Mutex<Set<ForbiddenCommand>>([])
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    /// Takes note of an error to a command, which says that it is forbidden or says nothing of the kind.
    func note(_ error: String, to command: ForbiddenCommand) {
        guard Self.isProhibition(error) else { return }
        guard said.withLock({ $0.insert(command).inserted }) else { return }
        // Redis repeats the arguments of a command that it does not know: here the script.
        let reason = error.firstRange(of: ", with args").map { error[..<$0.lowerBound] } ?? error[...]
        logger.warning("\(command.consequence)", metadata: ["reason": "\(reason)"])
    }

    /// Whether an error means that the command is not to be had here: others, such as NOAUTH and LOADING, only say that
    /// it is not to be had now.
    static func isProhibition(_ error: String) -> Bool { error.hasPrefix("NOPERM") || error.hasPrefix("ERR ") }
}
