import NIOCore
import NIOHTTP1

/// One connection of a pool, with one request at a time.
final class ClientConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let channel: any Channel
    private let pool: ConnectionPool
    private var exchange: PendingExchange?
    private var head: HTTPResponseHead?
    private var body = ByteBuffer()
    /// Whether a request was answered on it before the one that is under way.
    private(set) var hasAnswered = false
    private var failure: RateLimitClientError?
    private var isLost = false

    init(channel: any Channel, pool: ConnectionPool) {
        self.channel = channel
        self.pool = pool
    }

    func addHandlers() throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHTTPClientHandlers()
        try pipeline.addHandler(self)
    }

    func close() { channel.close(promise: nil) }

    /// Sends a request; the connection must be idle.
    func begin(_ exchange: PendingExchange) {
        precondition(self.exchange == nil, "a connection has one request at a time")
        self.exchange = exchange
        exchange.connection = self
        let request = exchange.request
        var headers: HTTPHeaders = ["Host": "localhost", "Accept": "application/json"]
        if let body = request.body {
            headers.add(name: "Content-Type", value: "application/json")
            headers.add(name: "Content-Length", value: "\(body.utf8.count)")
        }
        let head = HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: request.method.rawValue), uri: request.uri,
            headers: headers)
        let pipeline = channel.pipeline.syncOperations
        pipeline.write(NIOAny(OutboundOut.head(head)), promise: nil)
        if let body = request.body {
            pipeline.write(NIOAny(OutboundOut.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        }
        pipeline.writeAndFlush(NIOAny(OutboundOut.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body.clear()
        case .body(var part):
            let maximumBytes = DaemonResponse.maximumBodyBytes
            guard body.readableBytes + part.readableBytes <= maximumBytes else {
                return fail(.answerTooLong(address: pool.address, maximumBytes: maximumBytes), context)
            }
            body.writeBuffer(&part)
        case .end: answered(context)
        }
    }

    private func answered(_ context: ChannelHandlerContext) {
        guard let exchange, let head else { return fail(.notHTTP(address: pool.address), context) }
        let text = String(buffer: body)
        self.exchange = nil
        self.head = nil
        exchange.connection = nil
        hasAnswered = true
        let headers = DaemonResponse.handedOn.compactMap { name in head.headers.first(name: name).map { (name, $0) } }
        let response = DaemonResponse(
            status: Int(head.status.code), body: text.hasSuffix("\n") ? String(text.dropLast()) : text,
            headers: Dictionary(uniqueKeysWithValues: headers))
        exchange.end(.success(response))
        if head.isKeepAlive, !isLost { pool.free(self) } else { context.close(promise: nil) }
    }

    private func fail(_ error: RateLimitClientError, _ context: ChannelHandlerContext) {
        failure = failure ?? error
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard !isLost else { return }
        isLost = true
        let unanswered = exchange
        exchange = nil
        unanswered?.connection = nil
        pool.lost(self, unanswered: unanswered, failure ?? .closed(address: pool.address))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(error is HTTPParserError ? .notHTTP(address: pool.address) : .closed(address: pool.address), context)
    }
}
