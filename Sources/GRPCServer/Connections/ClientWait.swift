/// What a connection waits for its client to do, as it stands at one time: a value.
///
/// The connection looks twice, a request timeout apart: what waited at the first look must be done by the second. So a
/// client has one to two request timeouts for each thing, also where it drips bytes.
struct ClientWait: Equatable {
    /// What has arrived whole before that which is arriving in part; nil where nothing is.
    var arrivingAfter: Int?
    /// The writes that were taken before the one that waits for room in the socket; nil where none does.
    var writingAfter: Int?
    /// Whether nothing more is said, and the client has only to take what was.
    var isOver = false

    /// Why the connection ends at the second look; nil where it goes on.
    ///
    /// - Parameter hasUnsentAnswers: whether answers that waited at the first look wait for room in a window.
    func end(at now: ClientWait, hasUnsentAnswers: Bool) -> ConnectionEndReason? {
        if isOver { return .unread }
        if let writingAfter, now.writingAfter == writingAfter { return .unread }
        if let arrivingAfter, now.arrivingAfter == arrivingAfter { return .incomplete }
        return hasUnsentAnswers ? .unread : nil
    }
}
