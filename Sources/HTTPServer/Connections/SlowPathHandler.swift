import DecisionTracing
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
    /// How many bytes of a body have been dropped; nil where it is kept.
    private var droppedBytes: Int?
    private var hasRefused = false
    /// Who is at the other end, once somebody has asked.
    private var knownPeer: ConnectionPeer?

    init(connection: ConnectionHandler) {
        self.connection = connection
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasRefused else { return }
        switch unwrapInboundIn(data) {
        case .head(let head): begin(head)
        case .body(let part): take(part)
        case .end: end(context)
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
        // Only of a request that has a body: finding the route takes a while.
        droppedBytes = (isChunked || contentLength ?? 0 > 0) && Router.dropsBody(of: head.uri) ? 0 : nil
        let headBytes = head.headers.reduce(head.uri.utf8.count) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
        if headBytes > RequestBounds.headBytes { return refuse(.headTooLarge) }
        if head.version != .http1_0, head.headers["host"].count != 1 { return refuse(.missingHost) }
        if let contentLength, contentLength > bodyBound { return refuse(.bodyTooLarge) }
        if head.headers.first(name: "expect")?.lowercased() == "100-continue" { connection.sendContinue() }
    }

    private func peer(_ context: ChannelHandlerContext) -> ConnectionPeer {
        let peer = knownPeer ?? ConnectionPeer(context.channel.remoteAddress)
        knownPeer = peer
        return peer
    }

    private var bodyBound: Int { droppedBytes == nil ? RequestBounds.bodyBytes : RequestBounds.droppedBodyBytes }

    private func take(_ part: ByteBuffer) {
        if let dropped = droppedBytes {
            droppedBytes = dropped + part.readableBytes
        } else {
            body.append(contentsOf: part.readableBytesView)
        }
        if droppedBytes ?? body.count > bodyBound { refuse(.bodyTooLarge) }
    }

    private func end(_ context: ChannelHandlerContext) {
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
            head, body, isAdmin: connection.isAdmin, limits: engine.limits, checksAreCalls: engine.hasFileLimits,
            peer: peer(context), callers: connection.loop.callers)
        do throws(RequestError) {
            perform(try Router.route(request), head.headers, form, context.eventLoop)
        } catch {
            connection.answer(.problem(error), ticket: connection.makeTicket(ResponseContext(form: form)))
        }
    }

    /// Answers at once and ends the connection: what follows in it cannot be told from this request's rest.
    private func refuse(_ error: RequestError) {
        hasRefused = true
        connection.answer(.problem(error), ticket: connection.makeLastTicket())
    }

    private func perform(
        _ request: RoutedRequest, _ headers: HTTPHeaders, _ form: AnswerForm, _ eventLoop: any EventLoop
    ) {
        let loop = connection.loop
        switch request {
        case .check(let check):
            let span = loop.tracer?.begin(.check, of: check.user, in: headers)
            let ticket = connection.makeTicket(ResponseContext(form: form, span: span))
            connection.check(check.user, cost: check.cost, arrivedAt: .now(), ticket: ticket)
        case .call(let call):
            let span = loop.tracer?.begin(call.request, in: headers)
            let ticket = connection.makeTicket(ResponseContext(form: form, topic: AnswerTopic(call), span: span))
            connection.decide(call.request, arrivedAt: .now(), ticket: ticket)
        case .authorize(let asked): perform(asked, headers, form)
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
        case .alive, .ready, .health, .configuration, .version, .openAPI:
            let answer = Pages.answer(
                request, state: loop.service.health.state, isDraining: loop.isDraining, pages: loop.pages)
            connection.answer(answer, ticket: connection.makeTicket(ResponseContext(form: form)))
        }
    }

    private func perform(_ asked: AuthorizationRequest, _ headers: HTTPHeaders, _ form: AnswerForm) {
        let span = connection.loop.tracer?.begin(.authorize, of: try? asked.call.get().user, in: headers)
        let ticket = connection.makeTicket(
            ResponseContext(form: form, topic: .authorization(asked.denial), span: span))
        switch asked.call {
        case .success(let call) where connection.loop.engine.hasFileLimits || call.operation != .check:
            connection.decide(call, arrivedAt: .now(), ticket: ticket)
        case .success(let call): connection.check(call.user, cost: call.cost, arrivedAt: .now(), ticket: ticket)
        case .failure(let problem): connection.answer(.unnamed(problem, asked.denial), ticket: ticket)
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
        _ head: HTTPRequestHead, _ body: [UInt8], isAdmin: Bool, limits: LimitsInForce, checksAreCalls: Bool,
        peer: ConnectionPeer = .unixSocket, callers: CallerRules = CallerRules()
    ) {
        let hasLength =
            head.headers.contains(name: "content-length") || head.headers.contains(name: "transfer-encoding")
        self.init(
            method: head.method, uri: head.uri, contentType: head.headers.first(name: "content-type"),
            hasLength: hasLength, isAdmin: isAdmin, leases: limits.leases, limits: limits,
            checksAreCalls: checksAreCalls, headers: head.headers, peer: peer, callers: callers, body: body)
    }
}
