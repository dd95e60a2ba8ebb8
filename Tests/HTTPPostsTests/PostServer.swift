import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import TestSupport

/// A server on a port of 127.0.0.1 that does with each request what a test says.
final class PostServer: Sendable {
    /// What it does when a request is there.
    enum Reply: Sendable {
        case bytes(String)
        case bytesAndEnd(String)
        case silence
    }

    /// A request as it came.
    struct Request: Sendable, Equatable {
        var head: String
        var body: String

        /// The value of a header that came once.
        func header(_ name: String) -> String? {
            let values = head.split(separator: "\r\n").filter { $0.lowercased().hasPrefix("\(name):") }
            return values.count == 1 ? values[0].drop { $0 != ":" }.dropFirst().trimmingPrefix(" ").description : nil
        }
    }

    struct Seen: Sendable {
        var connections = 0
        var requests: [Request] = []
    }

    private let channel: any Channel
    private let state = Mutex(Seen())

    var seen: Seen { state.withLock { $0 } }
    var port: Int { channel.localAddress?.port ?? 0 }

    /// - Parameters:
    ///   - readsAll: false where it answers each read, whatever came.
    ///   - reply: told how many requests came before.
    init(
        certificate: CertificateAuthority.Certificate? = nil, readsAll: Bool = true,
        _ reply: @escaping @Sendable (Int) -> Reply
    ) async throws {
        let tls = try certificate.map { certificate in
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(certificate.file).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: certificate.keyFile, format: .pem)))
            configuration.minimumTLSVersion = .tlsv12
            return try NIOSSLContext(configuration: configuration)
        }
        let seen = Mutual()
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls))
                    }
                    let handler = RequestHandler(readsAll: readsAll, tell: { seen.owner?.tell($0) ?? 0 }, reply)
                    seen.owner?.connected()
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        seen.owner = self
    }

    deinit { channel.close(promise: nil) }

    private func connected() { state.withLock { $0.connections += 1 } }

    private func tell(_ request: Request) -> Int {
        state.withLock { state in
            state.requests.append(request)
            return state.requests.count - 1
        }
    }

    /// The server, which its own bootstrap must not keep alive.
    private final class Mutual: Sendable {
        private let held = Mutex(Held())
        private struct Held { weak var server: PostServer? }

        var owner: PostServer? {
            get { held.withLock { $0.server } }
            set { held.withLock { $0.server = newValue } }
        }
    }
}

private final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let readsAll: Bool
    private let tell: (PostServer.Request) -> Int
    private let reply: (Int) -> PostServer.Reply
    private var text = ""

    init(
        readsAll: Bool, tell: @escaping (PostServer.Request) -> Int, _ reply: @escaping (Int) -> PostServer.Reply
    ) {
        self.readsAll = readsAll
        self.tell = tell
        self.reply = reply
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        text += String(buffer: unwrapInboundIn(data))
        guard let end = text.firstRange(of: "\r\n\r\n") else { return }
        let request = PostServer.Request(head: String(text[..<end.lowerBound]), body: String(text[end.upperBound...]))
        let length = request.header("content-length").flatMap { Int($0) } ?? 0
        guard !readsAll || request.body.utf8.count >= length else { return }
        text = ""
        switch reply(tell(request)) {
        case .bytes(let bytes): write(bytes, context)
        case .bytesAndEnd(let bytes):
            write(bytes, context)
            context.close(promise: nil)
        case .silence: break
        }
    }

    private func write(_ bytes: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: bytes)), promise: nil)
    }

    // A client that leaves is what some tests are about.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
