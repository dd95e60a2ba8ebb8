import NIOCore

/// Whether a server takes EVALSHA, as a value: there are services that refuse it and take the whole text.
struct EvalshaUse {
    /// How long the whole text is sent at once, where EVALSHA was refused and the text was taken. Then EVALSHA is tried
    /// again, since permissions may have come back between the two; each trial costs one batch a second round trip.
    static let rest = TimeAmount.seconds(1)

    /// Until when the whole text is sent at once.
    private(set) var restsUntil = NIODeadline.distantPast
    /// Redis's words where it has refused EVALSHA and not yet answered to the whole text.
    private var refusal: String?

    /// Whether the whole text is sent at once.
    func isResting(at now: NIODeadline) -> Bool { now < restsUntil }

    /// Takes note of an error that says that EVALSHA itself is refused.
    mutating func wasRefused(_ error: String) { refusal = error }

    /// Takes note that the whole text was taken; Redis's words where EVALSHA rests from now on.
    mutating func textWasTaken(at now: NIODeadline) -> String? {
        guard let words = refusal else { return nil }
        refusal = nil
        restsUntil = now + Self.rest
        return words
    }

    /// Takes note that the whole text is refused as well, so it is not EVALSHA that the service lacks: permissions were
    /// taken away, and may be given back.
    mutating func textWasRefused() { refusal = nil }

    /// Whether an error to EVALSHA means that it certainly did not run: the script is not known, or the service does not
    /// have the command, or not for this user. Then, and only then, requests are sent a second time. A permission that a
    /// command inside the script lacks is also called NOPERM, and may come when some of a batch has been charged: so the
    /// text must name EVALSHA itself.
    static func saysNothingRan(_ error: String) -> Bool {
        if isUnknownScript(error) { return true }
        guard error.hasPrefix("NOPERM") || error.hasPrefix("ERR unknown command") else { return false }
        return error.lowercased().contains("evalsha")
    }

    /// Whether Redis does not know the script, as after a restart.
    static func isUnknownScript(_ error: String) -> Bool { error.hasPrefix("NOSCRIPT") }
}
