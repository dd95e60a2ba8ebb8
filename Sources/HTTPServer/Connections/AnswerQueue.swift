/// Keeps the answers of one connection in the order of its requests, as a value: no channel.
///
/// Requests are numbered by tickets. An answer to the oldest open request goes out at once; one that comes before an
/// older one's waits here. Without pipelining nothing is ever stored.
struct AnswerQueue<QueuedAnswer> {
    /// The oldest request without an answer.
    private(set) var first = 0
    /// The number the next request gets.
    private(set) var next = 0
    private var waiting: [Int: QueuedAnswer] = [:]

    /// Requests that have no answer written.
    var open: Int { next - first }

    /// A ticket for one more request.
    mutating func makeTicket() -> Int {
        defer { next += 1 }
        return next
    }

    /// Whether the answer to `ticket` may be written now; it then counts as written.
    mutating func mayWrite(_ ticket: Int) -> Bool {
        guard ticket == first else { return false }
        first += 1
        return true
    }

    /// Keeps an answer whose turn has not come.
    mutating func keep(_ answer: QueuedAnswer, for ticket: Int) {
        waiting[ticket] = answer
    }

    /// The next answer whose turn has come, if it is there.
    mutating func nextReady() -> (ticket: Int, answer: QueuedAnswer)? {
        guard !waiting.isEmpty, let answer = waiting.removeValue(forKey: first) else { return nil }
        defer { first += 1 }
        return (first, answer)
    }
}
