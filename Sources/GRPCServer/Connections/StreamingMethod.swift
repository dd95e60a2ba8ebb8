import NIOCore

/// A method that takes and sends any number of messages: for tools, off the hot path.
protocol StreamingMethod: AnyObject {
    /// Takes in a new call, whose messages the result is given.
    func open(_ stream: MessageStream) -> any StreamingCall
}

/// The server's end of one call of many messages. It is called on the connection's event loop.
protocol StreamingCall: AnyObject {
    /// Takes in one message.
    func receive(_ message: ByteBuffer)
    /// The client has sent all it will.
    func clientEnded()
    /// The call is over, whoever ended it; the last that is called.
    func ended()
}

/// Where a call of many messages is answered; it does nothing once that call is over.
struct MessageStream {
    private weak var connection: GRPCConnection?
    private let ticket: Int

    init(_ connection: GRPCConnection, ticket: Int) {
        self.connection = connection
        self.ticket = ticket
    }

    /// Sends one message; the call is ended where the client lets too many lie.
    func send(_ message: ByteBuffer) { connection?.sendMessage(message, ticket: ticket) }

    /// Ends the call: well, or with a code.
    func finish(_ code: GRPCError.Code? = nil) { connection?.finish(code, ticket: ticket) }
}
