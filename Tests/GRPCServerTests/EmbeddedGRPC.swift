import CoreMetrics
import DecisionTracing
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import RateLimitCore
import RateLimitService
import RedisClient

@testable import GRPCServer

/// What the gRPC connections of one event loop share, with methods of the tests' own and a Redis that is away for good.
final class EmbeddedGRPC: Sendable {
    /// The methods, on their event loop.
    struct Methods {
        let echo = EchoMethod()
        let patient = PatientMethod()
    }

    let eventLoop: any EventLoop
    private let state: NIOLoopBound<(loop: GRPCLoopState, methods: Methods)>

    let service: CheckService

    init(
        quota: Int = 20, redisPath: String = "/nowhere", eventLoop: any EventLoop,
        metrics: any MetricsFactory = NOOPMetricsHandler.instance, tracing: Tracing? = nil
    ) async throws {
        let service = try await Self.service(quota: quota, redisPath: redisPath, eventLoops: [eventLoop])
        self.service = service
        self.eventLoop = eventLoop
        state = try await eventLoop.submit {
            let engine = service.engine(on: eventLoop)
            let methods = Methods()
            let loop = GRPCLoopState(
                engine: engine, methods: Self.table(methods, engine), requestTimeout: .seconds(5),
                metrics: GRPCMetrics(factory: metrics), tracing: tracing)
            return NIOLoopBound((loop, methods), eventLoop: eventLoop)
        }.get()
    }

    deinit { eventLoop.execute { [state] in state.value.loop.end() } }

    /// A service; without Redis its failure mode decides at once.
    static func service(
        quota: Int = 20, redisPath: String = "/nowhere", eventLoops: [any EventLoop]
    ) async throws -> CheckService {
        let limit = Limit(name: "requests", quota: quota, windowMilliseconds: 3_600_000)
        return try await CheckService.make(
            options: CheckServiceOptions(
                redis: .single(RedisEndpoint(address: .unix(path: redisPath))), deadlineMilliseconds: 60_000),
            policy: CheckPolicy(limit: limit, failureMode: .local), eventLoops: eventLoops,
            metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
    }

    static func table(_ methods: Methods, _ engine: CheckEngine) -> MethodTable {
        let own: MethodTable.Factory = { [methods = NIOLoopBound(methods, eventLoop: engine.eventLoop)] engine in
            [
                (EchoMethod.path, methods.value.echo), (PatientMethod.path, methods.value.patient),
                (CheckingMethod.path, CheckingMethod(engine)),
            ]
        }
        return MethodTable(own: own, engine: engine)
    }

    /// Called on the event loop.
    var loop: GRPCLoopState { state.value.loop }
    /// Called on the event loop.
    var methods: Methods { state.value.methods }

    /// A connection; called on the event loop.
    func connect(_ before: [any ChannelHandler] = [], saysHello: Bool = true) -> EmbeddedClient {
        let client = EmbeddedClient(before, GRPCConnection(loop: loop))
        if saysHello { client.send(Frame.preface + Frame.settings().bytes) }
        return client
    }

    /// Runs a test's body on an event loop of its own.
    static func run<Value: Sendable>(
        quota: Int = 20, metrics: any MetricsFactory = NOOPMetricsHandler.instance, tracing: Tracing? = nil,
        _ body: @escaping @Sendable (EmbeddedGRPC) throws -> Value
    ) async throws -> Value {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let result: Result<Value, any Error>
        do {
            let server = try await EmbeddedGRPC(
                quota: quota, eventLoop: group.next(), metrics: metrics, tracing: tracing)
            result = .success(try await server.eventLoop.submit { try body(server) }.get())
        } catch {
            result = .failure(error)
        }
        try await group.shutdownGracefully()
        return try result.get()
    }
}

/// A client without a socket or a library: bytes in, frames out, at once.
final class EmbeddedClient {
    private let channel: EmbeddedChannel
    private let connection: GRPCConnection
    private var unread: [UInt8] = []
    /// What has arrived of a frame that is not whole.
    var unreadBytes: Int { unread.count }
    private let headers = HeaderReader()
    /// All frames that have arrived.
    private(set) var frames: [Frame] = []
    /// The fields of each block of headers that has arrived, by stream.
    private(set) var fields: [Int32: [[String: String]]] = [:]

    init(_ before: [any ChannelHandler], _ connection: GRPCConnection) {
        self.connection = connection
        channel = EmbeddedChannel(handlers: before + [connection])
        if let address = try? SocketAddress(unixDomainSocketPath: "/client") {
            channel.connect(to: address, promise: nil)
        }
        collect()
    }

    /// Whether the server has closed the connection.
    var isClosed: Bool { !channel.isActive }

    /// Whether the server reads on.
    var isRead: Bool { !connection.isReadPaused }

    /// Whether the server waits for this client to do something.
    var isWaitedFor: Bool { connection.timer != nil }

    /// Sends bytes as one read, and takes what is answered at once.
    func send(_ bytes: some Sequence<UInt8>) {
        guard channel.isActive else { return }
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        collect()
    }

    /// Sends frames as one read.
    func send(_ frames: Frame...) { send(frames.flatMap(\.bytes)) }

    /// Lets time pass.
    func advance(by time: TimeAmount) {
        channel.embeddedEventLoop.advanceTime(by: time)
        collect()
    }

    /// Goes away.
    func close() { _ = try? channel.finish(acceptAlreadyClosed: true) }

    func collect() {
        channel.embeddedEventLoop.run()
        while let part = (try? channel.readOutbound(as: ByteBuffer.self)) ?? nil {
            unread += Array(part.readableBytesView)
        }
        for frame in Frame.takeAll(&unread) {
            frames.append(frame)
            if frame.kind == .headers { fields[frame.stream, default: []].append(headers.fields(frame.payload) ?? [:]) }
        }
    }

    // MARK: Calls

    /// The headers of a call.
    static func call(
        _ path: String = EchoMethod.path, _ more: [(String, String)] = [], method: String = "POST",
        contentType: String = "application/grpc"
    ) -> [(String, String)] {
        [
            (":method", method), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("content-type", contentType), ("te", "trailers"),
        ] + more
    }

    /// Sends whole calls as one read.
    func call(_ streams: Int32..., path: String = EchoMethod.path, message: [UInt8] = Array("hello".utf8)) {
        call(streams, path: path, message: message)
    }

    /// Sends whole calls as one read.
    func call(_ streams: [Int32], path: String = EchoMethod.path, message: [UInt8] = Array("hello".utf8)) {
        var bytes: [UInt8] = []
        for stream in streams {
            bytes += Frame.headers(stream, Self.call(path)).bytes + Frame.data(stream, framed(message)).bytes
        }
        send(bytes)
    }

    /// What a call was answered: its message without the prefix, and its code.
    func answer(_ stream: Int32) -> (message: [UInt8], code: Int?) {
        let message = frames.filter { $0.kind == .data && $0.stream == stream }.flatMap(\.payload)
        return (Array(message.dropFirst(5)), fields[stream]?.last?["grpc-status"].flatMap { Int($0) })
    }

    /// The code by which a stream was reset; nil where it was not.
    func reset(_ stream: Int32) -> UInt32? { frames.last { $0.kind == .reset && $0.stream == stream }?.errorCode }

    /// The code by which the connection was ended; nil where it was not.
    var goAway: UInt32? { frames.last { $0.kind == .goAway }?.errorCode }
}
