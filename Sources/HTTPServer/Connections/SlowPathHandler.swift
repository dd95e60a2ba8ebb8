import NIOCore
import NIOHTTP1
import RateLimitCore
import RateLimitService

/// Routes the requests that NIOHTTP1 decoded, those that the fast path does not know, and answers them through the
/// connection's queue.
final class SlowPathHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart

    let connection: ConnectionHandler
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var hasRefused = false

    init(connection: ConnectionHandler) {
        self.connection = connection
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasRefused else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head)
        case .body(let part):
            body.append(contentsOf: part.readableBytesView)
            if body.count > RequestBounds.bodyBytes { refuse(.bodyTooLarge) }
        case .end: end(context.eventLoop)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? HTTPParserError {
            refuse(error == .headerOverflow ? .headTooLarge : .malformedHTTP(Self.describe(error)))
            connection.flush()
        } else {
            context.fireErrorCaught(error)
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        let contentLength = head.headers.first(name: "content-length").flatMap { Int($0) }
        let isChunked = head.headers.contains(name: "transfer-encoding")
        connection.slowPathRequestBegan(bodyLength: isChunked ? nil : contentLength ?? 0)
        self.head = head
        body.removeAll()
        let headBytes = head.headers.reduce(head.uri.utf8.count) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
        if headBytes > RequestBounds.headBytes { return refuse(.headTooLarge) }
        if head.version != .http1_0, head.headers["host"].count != 1 { return refuse(.missingHost) }
        if let contentLength, contentLength > RequestBounds.bodyBytes { return refuse(.bodyTooLarge) }
        if head.headers.first(name: "expect")?.lowercased() == "100-continue" { connection.sendContinue() }
    }

    private func end(_ eventLoop: any EventLoop) {
        guard let head else { return }
        self.head = nil
        connection.slowPathRequestEnded()
        // After an offer to upgrade, or CONNECT, the decoder takes what follows for another protocol.
        let isUpgrade = head.headers.contains(name: "upgrade") || head.method == .CONNECT
        // HTTP/1.0 keeps a connection only where the answer says so; its few clients get a new one for each request.
        let closes = !head.isKeepAlive || isUpgrade || head.version == .http1_0
        let form = AnswerForm(isHead: head.method == .HEAD, closes: closes)
        let engine = connection.loop.engine
        let request = Router.Request(
            head, body, isAdmin: connection.isAdmin, limits: engine.limits, checksAreCalls: engine.hasFileLimits)
        do throws(RequestError) {
            perform(try Router.route(request), form, eventLoop)
        } catch {
            connection.answer(.problem(error), ticket: connection.makeTicket(ResponseContext(form: form)))
        }
    }

    /// Answers at once and ends the connection: what follows in it cannot be told from this request's rest.
    private func refuse(_ error: RequestError) {
        hasRefused = true
        connection.answer(.problem(error), ticket: connection.makeLastTicket())
    }

    private func perform(_ request: RoutedRequest, _ form: AnswerForm, _ eventLoop: any EventLoop) {
        let loop = connection.loop
        switch request {
        case .check(let check):
            let ticket = connection.makeTicket(ResponseContext(form: form))
            connection.check(check.user, cost: check.cost, arrivedAt: .now(), ticket: ticket)
        case .call(let call):
            let ticket = connection.makeTicket(ResponseContext(form: form, topic: AnswerTopic(call)))
            connection.decide(call.request, arrivedAt: .now(), ticket: ticket)
        case .userStatus(let user):
            let ticket = connection.makeTicket(ResponseContext(form: form, topic: .status(of: user)))
            if loop.engine.hasFileLimits {
                connection.decide(CallRequest(user: user, operation: .look), arrivedAt: .now(), ticket: ticket)
            } else {
                connection.check(user, cost: 0, arrivedAt: .now(), ticket: ticket)
            }
        case .reset(let reset): perform(reset, ticket: connection.makeTicket(ResponseContext(form: form)), eventLoop)
        case .admin(let request):
            perform(request, ticket: connection.makeTicket(ResponseContext(form: form)), eventLoop)
        case .metrics:
            let ticket = connection.makeTicket(ResponseContext(form: form))
            loop.service.reportMetrics(on: eventLoop).assumeIsolated().whenComplete { [connection] _ in
                let page = Answer(
                    status: .ok, contentType: "text/plain; version=0.0.4; charset=utf-8", body: loop.pages.metrics()
                )
                connection.answer(page, ticket: ticket)
                loop.flush()
            }
        case .alive, .ready, .health, .configuration, .version:
            let answer = Pages.answer(
                request, state: loop.service.health.state, isDraining: loop.isDraining, pages: loop.pages)
            connection.answer(answer, ticket: connection.makeTicket(ResponseContext(form: form)))
        }
    }

    private static func describe(_ error: HTTPParserError) -> String {
        switch error {
        case .invalidMethod: "the method is not known"
        case .invalidVersion: "the version is not HTTP/1.1 or HTTP/1.0"
        case .invalidURL, .invalidPath, .invalidHost: "the target is malformed"
        case .invalidHeaderToken, .invalidConstant: "a header is malformed"
        case .invalidContentLength, .unexpectedContentLength: "the Content-Length is malformed"
        case .invalidChunkSize: "a chunk is malformed"
        case .closedConnection, .invalidEOFState: "it ends too early"
        default: "it cannot be parsed"
        }
    }
}

extension Router.Request {
    /// What NIOHTTP1 made of a request.
    init(
        _ head: HTTPRequestHead, _ body: [UInt8], isAdmin: Bool, limits: LimitsInForce, checksAreCalls: Bool
    ) {
        let hasLength =
            head.headers.contains(name: "content-length") || head.headers.contains(name: "transfer-encoding")
        self.init(
            method: head.method, uri: head.uri, contentType: head.headers.first(name: "content-type"),
            hasLength: hasLength, isAdmin: isAdmin, leases: limits.leases, limits: limits,
            checksAreCalls: checksAreCalls, body: body)
    }
}
