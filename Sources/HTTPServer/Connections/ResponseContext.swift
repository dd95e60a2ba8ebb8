import DecisionTracing
import RateLimitCore

/// How the answer to one request is to be written.
struct ResponseContext: Hashable {
    var form = AnswerForm()
    /// What an outcome is told as.
    var topic = AnswerTopic.decision(isVerbose: false)
    /// The span that ends with the answer, where the decision is traced.
    var span: OpenSpan?

    /// That of an ordinary check or reservation.
    static var ordinary: ResponseContext { ResponseContext() }
}

/// The contexts of one connection's open requests, but for those that are ordinary, in the order of their tickets; a value
/// without a channel.
struct ResponseContexts {
    private var contexts: [(ticket: Int, context: ResponseContext)] = []
    /// The first that has not been removed.
    private var first = 0

    /// Whether all open requests are ordinary.
    var isEmpty: Bool { contexts.isEmpty }

    /// Keeps the context of the newest request.
    mutating func keep(_ context: ResponseContext, for ticket: Int) {
        guard context != .ordinary else { return }
        precondition(contexts.last.map { $0.ticket < ticket } ?? true, "tickets ascend")
        contexts.append((ticket, context))
    }

    /// Removes the context of the request whose answer is written next: answers are written in the order of tickets.
    mutating func remove(_ ticket: Int) -> ResponseContext {
        guard first < contexts.count, contexts[first].ticket == ticket else { return .ordinary }
        let context = contexts[first].context
        first += 1
        if first == contexts.count {
            contexts.removeAll(keepingCapacity: true)
            first = 0
        } else if first >= 64, 2 * first >= contexts.count {
            // Under load the last may never be removed: what is done with goes now and then.
            contexts.removeFirst(first)
            first = 0
        }
        return context
    }
}
