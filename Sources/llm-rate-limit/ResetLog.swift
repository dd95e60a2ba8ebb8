import DaemonConfiguration
import Gateway
import Listeners
import Logging
import RateLimitCore
import RateLimitService

/// Writes one line for each reset that was asked for: whose, by whom, and whether it was done.
struct ResetLog: Sendable {
    let inForce: ConfigurationInForce
    let logger: Logger

    func tell(_ reset: ResetReport) {
        var metadata: Logger.Metadata = [:]
        if let peer = reset.peer {
            metadata["by_uid"] = "\(peer.userIdentifier)"
            metadata["by_pid"] = "\(peer.processIdentifier)"
        }
        if let user = inForce.value.settings.logUsers.text(of: reset.user) { metadata["user"] = "\(user)" }
        if let failure = reset.failure {
            metadata["reason"] = "\(failure.rawValue)"
            logger.warning("cannot reset a user", metadata: metadata)
        } else {
            logger.notice("reset a user", metadata: metadata)
        }
    }
}

extension UserLogging {
    /// How a log line names a user; nil where it does not.
    func text(of user: UserID) -> String? {
        switch self {
        case .hash: user.digest
        case .plain: "\(user)"
        case .none: nil
        }
    }
}
