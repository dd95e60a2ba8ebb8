import NIOCore

/// The version of all that the daemons tell each other, as one event loop knows it, as a value: whether what is remembered
/// there may be believed, and for how long.
///
/// Two things end what is remembered. A message says what was changed, and the versions before and after: where the version
/// before is not the one known here, messages were missed. And the version is asked for again and again: what is remembered
/// is believed only where an answer that is younger than ``patience`` showed the version known here. So nothing older than
/// that is ever believed, whatever became of the messages.
struct KnownVersion {
    /// For how long what is remembered is believed after the version was asked for. A change shows after this at the
    /// latest; the rest of the second is for machines that are slow to turn.
    static let patience = TimeAmount.milliseconds(750)

    /// The version up to which changes are known here; nil before any was heard.
    private var version: String?
    /// Until when what is remembered may be believed.
    private(set) var believedUntil = NIODeadline.distantPast

    /// Takes the version that Redis had at `sentAt` or later; false where changes were missed, and nothing that is
    /// remembered holds.
    mutating func polled(_ version: String, sentAt: NIODeadline) -> Bool {
        defer { self.version = version }
        believedUntil = max(believedUntil, sentAt + Self.patience)
        return version == self.version
    }

    /// Takes the versions of a message; false where others were missed, and nothing that is remembered holds.
    mutating func heard(from before: String, to version: String) -> Bool {
        defer { self.version = version }
        return before == self.version
    }
}
