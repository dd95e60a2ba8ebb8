import NIOCore

/// What ``SlowPathHandler`` asks of its connection.
extension ConnectionHandler {
    /// A ticket for a request that is answered before it has arrived whole, or that is no HTTP: the last one.
    func makeLastTicket() -> Int {
        lingering.isDue = true
        return makeTicket(ResponseContext(form: AnswerForm(closes: true)))
    }

    /// Notes that a request's head is there; `bodyLength` is nil where the body comes in chunks.
    func slowPathRequestBegan(bodyLength: Int?) { slowPath.headEnded(bodyLength: bodyLength) }

    /// Notes that a request has arrived whole.
    func slowPathRequestEnded() {
        clearTimeout()
        slowPath.requestEnded()
    }

    /// Tells a client that waits for it to send its body (RFC 9110, section 10.1.1).
    func sendContinue() {
        guard queue.open == 0 else { return }
        output.writeString("HTTP/1.1 100 Continue\r\n\r\n")
        flush()
    }
}
