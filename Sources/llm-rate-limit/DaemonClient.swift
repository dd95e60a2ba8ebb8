import NIOCore
import NIOHTTP1
import NIOPosix

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A request to the daemon, as small as its commands need.
struct DaemonRequest: Sendable {
    enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case delete = "DELETE"
    }

    var method: Method
    var uri: String
    /// A JSON text, or nil for a request without a body.
    var body: String?
}

/// The daemon's answer to one request.
struct DaemonResponse: Sendable, Equatable {
    var status: Int
    /// The body as text without the line end it may have; at most `DaemonClient.maximumBodyBytes` bytes.
    var body: String
}

/// Why the daemon gave no answer.
enum DaemonClientError: Error, Equatable, CustomStringConvertible {
    case badPath(path: String)
    case unreachable(path: String, code: Int32)
    case noAnswer(path: String, milliseconds: Int64)
    case closed(path: String)
    case notHTTP(path: String)
    case bodyTooLong(path: String, maximumBytes: Int)

    var description: String {
        switch self {
        case .badPath(let path):
            "cannot reach the daemon at \"\(path)\": a socket path has 1 to 107 bytes"
        case .unreachable(let path, let code):
            "cannot reach the daemon at \(path): \(String(cString: strerror(code)))\(Self.advice(code))"
        case .noAnswer(let path, let milliseconds):
            "cannot get an answer from the daemon at \(path): none came within \(milliseconds) ms"
        case .closed(let path):
            "cannot get an answer from the daemon at \(path): it closed the connection"
        case .notHTTP(let path):
            "cannot get an answer from the daemon at \(path): what came is not HTTP"
        case .bodyTooLong(let path, let maximumBytes):
            "cannot get an answer from the daemon at \(path): it is longer than \(maximumBytes) bytes"
        }
    }

    private static func advice(_ code: Int32) -> String {
        switch code {
        case ENOENT, ECONNREFUSED: "; is it running?"
        case EACCES, EPERM: "; the socket's mode and group say who may connect"
        default: ""
        }
    }
}

/// Asks a daemon one thing over its Unix socket.
struct DaemonClient: Sendable {
    let socketPath: String
    /// The time for everything: connecting, sending, and the whole answer.
    var deadline = TimeAmount.seconds(5)

    static let maximumBodyBytes = 1 << 20

    /// Opens a connection, sends the request, and closes the connection behind the answer.
    func send(_ request: DaemonRequest) async throws(DaemonClientError) -> DaemonResponse {
        guard !socketPath.isEmpty, let address = try? SocketAddress(unixDomainSocketPath: socketPath) else {
            throw .badPath(path: socketPath)
        }
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        let answer = loop.makePromise(of: DaemonResponse.self)
        let timeout = loop.scheduleTask(in: deadline) { [self] in
            answer.fail(DaemonClientError.noAnswer(path: socketPath, milliseconds: deadline.nanoseconds / 1_000_000))
        }
        let connected = ClientBootstrap(group: loop).connectTimeout(deadline).channelInitializer { [self] channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHTTPClientHandlers()
                try channel.pipeline.syncOperations.addHandler(
                    ExchangeHandler(request: request, socketPath: socketPath, answer: answer))
            }
        }.connect(to: address)
        connected.whenFailure { [self] error in
            let code = (error as? IOError)?.errnoCode ?? ETIMEDOUT
            answer.fail(DaemonClientError.unreachable(path: socketPath, code: code))
        }
        answer.futureResult.whenComplete { _ in
            timeout.cancel()
            connected.whenSuccess { $0.close(promise: nil) }
        }
        do {
            return try await answer.futureResult.get()
        } catch {
            throw error as? DaemonClientError ?? .closed(path: socketPath)
        }
    }
}

/// Sends one request when the channel is there, and gathers the answer.
private final class ExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let request: DaemonRequest
    private let socketPath: String
    private let answer: EventLoopPromise<DaemonResponse>
    private var status = 0
    private var body = ByteBuffer()

    init(request: DaemonRequest, socketPath: String, answer: EventLoopPromise<DaemonResponse>) {
        self.request = request
        self.socketPath = socketPath
        self.answer = answer
    }

    func channelActive(context: ChannelHandlerContext) {
        var headers: HTTPHeaders = ["Host": "localhost", "Connection": "close", "Accept": "application/json"]
        if let body = request.body {
            headers.add(name: "Content-Type", value: "application/json")
            headers.add(name: "Content-Length", value: "\(body.utf8.count)")
        }
        let method = HTTPMethod(rawValue: request.method.rawValue)
        let head = HTTPRequestHead(version: .http1_1, method: method, uri: request.uri, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if let body = request.body {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            status = Int(head.status.code)
        case .body(var part):
            guard body.readableBytes + part.readableBytes <= DaemonClient.maximumBodyBytes else {
                let maximumBytes = DaemonClient.maximumBodyBytes
                return answer.fail(DaemonClientError.bodyTooLong(path: socketPath, maximumBytes: maximumBytes))
            }
            body.writeBuffer(&part)
        case .end:
            let text = String(buffer: body)
            answer.succeed(DaemonResponse(status: status, body: text.hasSuffix("\n") ? String(text.dropLast()) : text))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        answer.fail(DaemonClientError.closed(path: socketPath))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let failure: DaemonClientError =
            error is HTTPParserError ? .notHTTP(path: socketPath) : .closed(path: socketPath)
        answer.fail(failure)
    }
}
