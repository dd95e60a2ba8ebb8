import DaemonConfiguration
import HTTPServer
import Listeners
import Logging
import RateLimitCore
import RateLimitService

/// Writes one line for each reset that was asked for: whose, of which limit, by whom, and whether it was done.
struct ResetLog: Sendable {
    let inForce: ConfigurationInForce
    let logger: Logger

    func log(_ report: ResetReport) {
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
            metadata["group"] = "\(group.text)"
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

extension ResetLog {
    /// Writes the line of a descriptor's window; its values may be users, and are not told.
    func log(_ report: DescriptorResetReport) {
        var metadata: Logger.Metadata = [
            "domain": "\(report.reset.domain)", "keys": "\(report.reset.entries.map(\.key).joined(separator: ","))",
        ]
        if let peer = report.peer {
            metadata["by_uid"] = "\(peer.userIdentifier)"
            metadata["by_pid"] = "\(peer.processIdentifier)"
        }
        switch report.failure {
        case nil: logger.notice("reset a descriptor", metadata: metadata)
        case .redis(let reason)?:
            metadata["reason"] = "\(reason.rawValue)"
            logger.warning("cannot reset a descriptor", metadata: metadata)
        case .noLimit?:
            metadata["reason"] = "no_limit"
            logger.warning("cannot reset a descriptor", metadata: metadata)
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
    func text(of user: SubjectID) -> String? {
        switch self {
        case .hash: user.digest
        case .plain: user.text
        case .none: nil
        }
    }
}

extension SubjectID {
    /// Stands for the user where the text itself must not: the first 16 hexadecimal digits of its SHA-256, of a UUID in
    /// lower case.
    ///
    /// No key goes into it, so that every replica, every log file and `sha256sum` agree. Who has the text can tell its
    /// digest. Nobody finds the 122 random bits of a UUID from it; a text that can be guessed, such as an e-mail address,
    /// is found by trying.
    var digest: String {
        sha256.prefix(8).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
