import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import TLSContexts

/// A body that waits for its answer.
final class PendingPost {
    let number: Int
    let body: ByteBuffer
    let contentType: String
    let headers: [PostHeader]
    let limit: TimeAmount
    private let whenOver: (Result<PostAnswer, PostFailure>) -> Void
    /// What ends it when its time is over.
    var timer: Scheduled<Void>?

    init(
        number: Int, body: ByteBuffer, contentType: String, headers: [PostHeader], limit: TimeAmount,
        whenOver: @escaping (Result<PostAnswer, PostFailure>) -> Void
    ) {
        self.number = number
        self.body = body
        self.contentType = contentType
        self.headers = headers
        self.limit = limit
        self.whenOver = whenOver
    }

    /// Called once: the line lets go of it first.
    func end(_ result: Result<PostAnswer, PostFailure>) {
        timer?.cancel()
        whenOver(result)
    }
}

/// The one connection of a poster, and the body that is being posted. All of it is on one event loop.
final class PostLine {
    let url: PostURL
    let options: PostOptions
    private let eventLoop: any EventLoop
    private let contexts = TLSContextCache()
    private var connection: PostConnection?
    /// Whether an attempt to connect is under way. It may outlive the post for which it began: there is one at a time,
    /// so that a name server or a host that is silent has no more than one waiting for it.
    private var isConnecting = false
    private var pending: PendingPost?
    /// The latest post that was cancelled, which may be before it has begun.
    private var cancelled = 0
    private var isClosed = false

    init(url: PostURL, options: PostOptions, eventLoop: any EventLoop) {
        self.url = url
        self.options = options
        self.eventLoop = eventLoop
    }

    func begin(_ post: PendingPost) {
        precondition(pending == nil, "one body is posted at a time")
        guard !isClosed else { return post.end(.failure(.closed)) }
        guard post.number > cancelled else { return post.end(.failure(.cancelled)) }
        pending = post
        post.timer = eventLoop.assumeIsolated().scheduleTask(in: post.limit) { [weak self] () -> Void in
            self?.timeIsOver(for: post)
        }
        if let connection { connection.send(post) } else if !isConnecting { connect(within: post.limit) }
    }

    func cancel(_ number: Int) {
        cancelled = max(cancelled, number)
        if pending?.number == number { abandon(.cancelled) }
    }

    func close() {
        isClosed = true
        abandon(.closed)
    }

    private func timeIsOver(for post: PendingPost) {
        guard pending === post else { return }
        let isEncrypting = connection?.isEncrypting == true
        abandon(isEncrypting ? .noHandshake : .noAnswer(milliseconds: post.limit.nanoseconds / 1_000_000))
    }

    /// Ends the post, and the connection with it: what it would still bring is an answer to nobody.
    private func abandon(_ failure: PostFailure) {
        let connection = connection
        self.connection = nil
        connection?.close()
        end(.failure(failure))
    }

    private func end(_ result: Result<PostAnswer, PostFailure>) {
        guard let post = pending else { return }
        pending = nil
        post.end(result)
    }
}

// MARK: - The connection

extension PostLine {
    private func connect(within limit: TimeAmount) {
        let context: NIOSSLContext?
        do throws(TLSProblem) {
            context = url.isEncrypted ? try contexts.context(for: options.tls) : nil
        } catch {
            return end(.failure(.files(reason: error.text)))
        }
        isConnecting = true
        let connection = PostConnection(line: self, isEncrypting: url.isEncrypted)
        let name = tlsServerName(url.host)
        let connecting = ClientBootstrap(group: eventLoop)
            .connectTimeout(limit)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { [bound = NIOLoopBound(connection, eventLoop: eventLoop)] channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let context {
                        try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
                    }
                    try bound.value.addHandlers(to: pipeline)
                }
            }
            .connect(host: url.host, port: url.port)
        connecting.assumeIsolated().whenComplete { [self] result in
            isConnecting = false
            switch result {
            case .success: opened(connection)
            case .failure(let error):
                end(.failure(.unreachable(reason: connectionFailure(error, nameToVerify: url.host))))
            }
        }
    }

    private func opened(_ connection: PostConnection) {
        guard !isClosed else { return connection.close() }
        self.connection = connection
        if let pending { connection.send(pending) }
    }

    /// The answer to what was posted is there.
    ///
    /// - Parameter keepsConnection: whether the connection can take the next one.
    func answered(_ answer: PostAnswer, on connection: PostConnection, keepsConnection: Bool) {
        guard self.connection === connection else { return }
        if !keepsConnection {
            self.connection = nil
            connection.close()
        }
        end(.success(answer))
    }

    /// The connection has ended, or has to.
    func lost(_ connection: PostConnection, because failure: PostFailure) {
        guard self.connection === connection else { return }
        abandon(failure)
    }
}

extension TLSProblem {
    /// Which file, and why.
    fileprivate var text: String {
        switch file {
        case .authorities: "cannot use the certificate authorities: \(reason)"
        case .certificate: "cannot use the client certificate: \(reason)"
        case .key: "cannot use the client certificate's key: \(reason)"
        }
    }
}
