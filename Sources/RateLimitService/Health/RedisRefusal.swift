/// An error with which Redis did not decide, read from its text: whom it concerns, and what to say of it.
///
/// The codes stand first in an error, but for Redis before 7, which puts a script's own words before them.
struct RedisRefusal: Hashable, Sendable {
    /// Whom an error concerns.
    enum Scope: Hashable, Sendable {
        /// Everybody whom the server would decide about.
        case server
        /// Everybody about whom the cluster would decide: it is down.
        case cluster
        /// Perhaps one key alone: the script met what it cannot read. Where it meets everybody, a heartbeat meets it too.
        case script
        /// One key alone, which holds something else than a window.
        case key
    }

    /// The most characters that are told.
    static let longestWords = 256

    /// Whom it concerns.
    let scope: Scope
    /// Redis's own words, without what says where in a script they come from.
    let words: String

    /// A reply that is none of those the script gives.
    static let malformedReply = RedisRefusal("the reply has not the form that the script gives it")

    /// Reads an error's text. An error that is not known is one of the server's: what is not enforced must be seen.
    init(_ error: String) {
        var text = error[...]
        // Redis 7 says behind an error in which script it was met, and every one repeats a command that it does not know.
        for tail in [" script: ", ", with args"] {
            if let start = text.firstRange(of: tail)?.lowerBound { text = text[..<start] }
        }
        while text.last?.isWhitespace == true { text.removeLast() }
        let isOfScript = text.contains("user_script:")
        var code = text.prefix { $0 != " " }
        if isOfScript, let start = Self.firstCode(in: text) {
            text = text[start...]
            code = text.prefix { $0 != " " }
        }
        words = String(text.prefix(Self.longestWords))
        if code == "WRONGTYPE" || Self.textsOfOneKey.contains(where: text.contains) {
            scope = .key
        } else if code == "CLUSTERDOWN" {
            scope = .cluster
        } else if isOfScript, !Self.codes.contains(code), !Self.textsOfServer.contains(where: text.contains) {
            scope = .script
        } else {
            scope = .server
        }
    }

    /// What the scripts say of a value that they cannot go on from.
    private static let textsOfOneKey = ["the value is not a rate limit window", "too many limits under one key"]
    /// What Redis says without a code, inside of a script, of a command that is forbidden or missing.
    private static let textsOfServer = [
        "The user executing the script", "Unknown Redis command", "nknown command", "is not allowed from script",
        "Write commands are not allowed", "the calendar periods are",
    ]
    /// The codes that may stand behind a script's own words.
    private static let codes: Set<Substring> = [
        "OOM", "MISCONF", "NOREPLICAS", "NOPERM", "READONLY", "MASTERDOWN", "LOADING", "BUSY", "NOAUTH", "NOSCRIPT",
        "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "WRONGTYPE",
    ]

    /// Where the first code begins; before it there may be a hyphen.
    private static func firstCode(in text: Substring) -> Substring.Index? {
        for word in text.split(separator: " ") {
            let bare = word.first == "-" ? word.dropFirst() : word
            if codes.contains(bare) { return bare.startIndex }
        }
        return nil
    }
}
