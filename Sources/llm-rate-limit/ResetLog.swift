import CSodium
import DaemonConfiguration
import Gateway
import Listeners
import Logging
import RateLimitCore
import RateLimitService

/// Writes one line for each reset that was asked for: whose, of which limit, by whom, and whether it was done.
struct ResetLog: Sendable {
    let inForce: ConfigurationInForce
    let logger: Logger

    func tell(_ report: ResetReport) {
        var metadata: Logger.Metadata = [:]
        if let peer = report.peer {
            metadata["by_uid"] = "\(peer.userIdentifier)"
            metadata["by_pid"] = "\(peer.processIdentifier)"
        }
        let what: String
        switch report.reset.owner {
        case .user(let user):
            what = "a user"
            if let text = inForce.value.settings.logUsers.text(of: user) { metadata["user"] = "\(text)" }
        case .group(let group):
            what = "a group"
            metadata["group"] = "\(group)"
        case .global: what = "what all share"
        }
        if let limit = report.reset.limit { metadata["limit"] = "\(limit)" }
        if let failure = report.failure {
            metadata["reason"] = "\(failure.text)"
            logger.warning("cannot reset \(what)", metadata: metadata)
        } else {
            logger.notice("reset \(what)", metadata: metadata)
        }
    }
}

extension ResetError {
    /// Why, as a log line has it.
    fileprivate var text: String {
        switch self {
        case .redis(let reason): reason.rawValue
        case .unknownLimit: "unknown_limit"
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

extension UserID {
    /// Stands for the user where the UUID itself must not: the first 16 hexadecimal digits of the SHA-256 of the
    /// canonical text in lower case.
    ///
    /// No key goes into it, so that every replica, every log file and `sha256sum` agree. Who has a UUID can tell its
    /// digest; nobody finds the 122 random bits of a UUID from it.
    var digest: String {
        let text = Array("\(self)".utf8)
        var hash = [UInt8](repeating: 0, count: Int(crypto_hash_sha256_BYTES))
        // It cannot fail: it reads memory and writes memory.
        _ = crypto_hash_sha256(&hash, text, UInt64(text.count))
        return hash.prefix(8).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
