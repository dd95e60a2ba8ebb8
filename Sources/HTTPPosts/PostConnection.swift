import Glibc
import NIOCore
import NIOHTTP1
import NIOSSL
import NIOTLS
import TLSContexts

/// A connection that carries one body after another, each when the one before has been answered.
final class PostConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private weak var line: PostLine?
    private let url: PostURL
    private let options: PostOptions
    private let bound: AnswerBound
    private var context: ChannelHandlerContext?
    /// Whether the TLS handshake is still to be done. What is written meanwhile waits for it.
    private(set) var isEncrypting: Bool
    private var isPosting = false
    /// Whether the whole of the body has been handed to the system.
    private var hasSent = false
    private var head: HTTPResponseHead?
    private var body = ByteBuffer()

    init(line: PostLine, isEncrypting: Bool) {
        self.line = line
        url = line.url
        options = line.options
        self.isEncrypting = isEncrypting
        bound = AnswerBound(maximumBytes: line.options.maximumAnswerBytes)
    }

    func addHandlers(to pipeline: ChannelPipeline.SynchronousOperations) throws {
        try pipeline.addHandler(bound)
        try pipeline.addHTTPClientHandlers()
        try pipeline.addHandler(self)
    }

    func send(_ post: PendingPost) {
        guard let context else {
            line?.lost(self, because: Self.ended)
            return
        }
        precondition(!isPosting, "a connection has one body at a time")
        isPosting = true
        hasSent = false
        bound.reset()
        var headers: HTTPHeaders = [
            "Host": url.hostHeader, "User-Agent": options.userAgent, "Content-Type": post.contentType,
            "Content-Length": "\(post.body.readableBytes)",
        ]
        for header in options.headers + post.headers {
            headers.replaceOrAdd(name: header.name, value: header.value)
        }
        let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: url.target, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(post.body))), promise: nil)
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenSuccess { [weak self] in self?.hasSent = true }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
    }

    func close() { context?.close(promise: nil) }
}

// MARK: - What comes

extension PostConnection {
    private static let ended = PostFailure.lost(reason: "the server closed the connection before it answered")

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) {
        // Nobody would close a connection that outlives its poster.
        if line == nil { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = ByteBuffer()
        case .body(var part): body.writeBuffer(&part)
        case .end: answered()
        }
    }

    private func answered() {
        guard isPosting, let head else {
            line?.lost(self, because: .notHTTP)
            return
        }
        isPosting = false
        self.head = nil
        let wait = head.headers.first(name: "Retry-After").flatMap { retryAfterSeconds($0, now: time(nil)) }
        let answer = PostAnswer(status: Int(head.status.code), retryAfterSeconds: wait, body: body)
        // What is still to be sent of a body that has been answered would be taken for the next request.
        line?.answered(answer, on: self, keepsConnection: head.isKeepAlive && hasSent)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent { isEncrypting = false }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) { line?.lost(self, because: Self.ended) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        // Most servers close without the goodbye of TLS: a closed connection and no more.
        case NIOSSLError.uncleanShutdown: return
        case let error as PostFailure: line?.lost(self, because: error)
        case HTTPParserError.invalidEOFState: line?.lost(self, because: Self.ended)
        case is HTTPParserError, is NIOHTTPDecoderError: line?.lost(self, because: .notHTTP)
        default:
            let certificate = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
                .peerCertificate
            let reason = connectionFailure(error, nameToVerify: url.host, certificate: certificate)
            // Before the handshake is done nothing of the body is sent.
            line?.lost(self, because: isEncrypting ? .unreachable(reason: reason) : .lost(reason: reason))
        }
        context.close(promise: nil)
    }
}

/// Ends an answer that is longer than what is taken in, before anything is made of its bytes.
final class AnswerBound: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let maximumBytes: Int
    private var remaining: Int

    init(maximumBytes: Int) {
        self.maximumBytes = maximumBytes
        remaining = maximumBytes
    }

    /// Another answer begins.
    func reset() { remaining = maximumBytes }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        remaining -= unwrapInboundIn(data).readableBytes
        guard remaining >= 0 else {
            context.fireErrorCaught(PostFailure.answerTooLong(maximumBytes: maximumBytes))
            return
        }
        context.fireChannelRead(data)
    }
}
