import NIOCore

/// How far a connection's end has come.
enum ConnectionEnd {
    case none
    /// The client has been told that no more calls will be taken soon.
    case announced
    /// Which calls are the last is said.
    case final
}

/// Requests that never arrive whole, answers that are never taken, and the end.
extension GRPCConnection {
    /// What a client may not have read yet is waited for so long.
    private static let announcement = TimeAmount.milliseconds(100)

    /// A client that has been told the end may take so long to close.
    private static let lingering = TimeAmount.seconds(1)

    /// Something that has begun to arrive has one to two request timeouts for the rest, and a client as long to take an
    /// answer: what is there when the timer is set must be whole, or taken, when it fires. A connection on which neither
    /// waits may be silent for as long as it likes.
    func setTimer() {
        guard timer == nil, let context, let session else { return }
        let wait = self.wait
        guard wait != ClientWait() || session.hasIncomplete || session.hasUnsentAnswers else { return }
        session.beginPeriod()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: loop.requestTimeout) { [self] in
            timer = nil
            timerFired(wait)
        }
    }

    private var wait: ClientWait {
        ClientWait(
            arrivingAfter: boundary.isInside ? boundary.completed : nil,
            writingAfter: queuedWrites > 0 ? takenWrites : nil, isOver: isOver)
    }

    private func timerFired(_ before: ClientWait) {
        guard let session else { return }
        let hasUnsentAnswers = session.hasOldUnsentAnswers
        if let reason = before.end(at: wait, hasUnsentAnswers: hasUnsentAnswers) {
            // Who reads, and only opens no window, is told; nobody else would read it.
            guard reason == .unread, hasUnsentAnswers, queuedWrites == 0, !isOver else { return close(because: reason) }
            endsBecause(reason)
            session.refuse()
        } else {
            session.failIncomplete()
        }
        willFlush()
        takeListed()
        loop.flush()
        setTimer()
    }

    // MARK: The end

    /// Closes the connection as soon as the client knows that it will end, and the open calls are answered.
    ///
    /// Calls may be on their way that this server has not read. So the client is first told to make no more, and which
    /// calls are the last is said only when it has answered, or did not within 100 ms.
    func beginEnd() {
        guard ending == .none, let context, let session else { return }
        ending = .announced
        endsBecause(.drain)
        session.announceEnd()
        willFlush()
        _ = context.eventLoop.assumeIsolated().scheduleTask(in: Self.announcement) { [self] in
            takeNoMore()
            loop.flush()
        }
    }

    /// Says which calls are the last.
    func takeNoMore() {
        guard ending == .announced, let session else { return }
        ending = .final
        session.takeNoMore()
        for ticket in Array(streamingCalls.keys) { finish(.unavailable, ticket: ticket) }
        willFlush()
    }

    /// Gives the client some time to close.
    func linger(_ context: ChannelHandlerContext) {
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.lingering) { [self] in
            close(because: .drain)
        }
    }
}
