import NIOCore

/// How far a connection's end has come.
enum ConnectionEnd {
    case none
    /// The client has been told that no more calls will be taken soon.
    case announced
    /// Which calls are the last is said.
    case final
}

/// Requests that never arrive whole, and the end.
extension GRPCConnection {
    /// What a client may not have read yet is waited for so long.
    private static let announcement = TimeAmount.milliseconds(100)

    /// A client that has been told the end may take so long to close.
    private static let lingering = TimeAmount.seconds(1)

    /// Something that has begun to arrive has one to two request timeouts for the rest: what is there when the timer is
    /// set must be whole when it fires. A connection on which nothing has begun may be silent for as long as it likes.
    func setTimer() {
        guard timer == nil, let context, let session, session.hasIncomplete || boundary.isInside || isOver else {
            return
        }
        let wasOver = isOver
        let mark = boundary.isInside ? boundary.completed : nil
        session.beginPeriod()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: loop.requestTimeout) { [self] in
            timer = nil
            timerFired(mark, wasOver)
        }
    }

    private func timerFired(_ mark: Int?, _ wasOver: Bool) {
        guard let session else { return }
        // What it was told at the end is not taken.
        if wasOver { return close() }
        if let mark, boundary.isInside, boundary.completed == mark {
            // Half a frame, or not even the preface: nobody is there who would read an answer.
            return close()
        }
        session.failIncomplete()
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
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.lingering) { [self] in close() }
    }
}
