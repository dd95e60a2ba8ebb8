import CoreMetrics
import DecisionTracing
import NIOCore
import RateLimitService

/// What the gRPC connections of one event loop share: the engine that decides, the methods, and the list of connections
/// that have something to flush.
final class GRPCLoopState {
    let eventLoop: any EventLoop
    let engine: CheckEngine
    let methods: MethodTable
    let requestTimeout: TimeAmount
    /// Nil where decisions are not traced.
    let tracer: DecisionTracer?
    private let metrics: GRPCMetrics
    /// Bytes of messages that have arrived in part; the connections' callbacks count here.
    let gathered: UnsafeMutablePointer<Int>
    /// For one answer after the other.
    var scratch = ByteBuffer()
    private var isFlushScheduled = false
    private var unflushed: [GRPCConnection] = []
    private(set) var connections: [ObjectIdentifier: GRPCConnection] = [:]
    /// Whether connections end as soon as their open calls are answered.
    private(set) var isLeaving = false

    init(
        engine: CheckEngine, methods: MethodTable, requestTimeout: TimeAmount,
        metrics: GRPCMetrics = GRPCMetrics(factory: NOOPMetricsHandler.instance), tracing: Tracing? = nil
    ) {
        tracer = tracing.map { DecisionTracer($0, .grpc) }
        eventLoop = engine.eventLoop
        self.engine = engine
        self.methods = methods
        self.requestTimeout = requestTimeout
        self.metrics = metrics
        gathered = .allocate(capacity: 1)
        gathered.initialize(to: 0)
        // Not weak: an object with weak references is retained and released more slowly, and each call does both here.
        engine.whenDelivered(self) { [unowned self] in flush() }
    }

    deinit { gathered.deallocate() }

    /// Hears of no more decisions. The last reference to it may go on another thread, where the engine must not be touched:
    /// so whoever made it ends it first, on its event loop.
    func end() { engine.endDelivery(to: self) }

    func willFlush(_ connection: GRPCConnection) { unflushed.append(connection) }

    func flush() {
        // By index: a flush may close a connection, may have it taken up again, and so add to the list.
        var index = 0
        while index < unflushed.count {
            unflushed[index].flush()
            index += 1
        }
        unflushed.removeAll(keepingCapacity: true)
    }

    /// Flushes in a turn of its own, for what is said outside of reads and decisions.
    func flushSoon() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.assumeIsolated().execute { [self] in
            isFlushScheduled = false
            flush()
        }
    }

    func opened(_ connection: GRPCConnection) {
        connections[ObjectIdentifier(connection)] = connection
        metrics.opened()
        if isLeaving { connection.beginEnd() }
    }

    func closed(_ connection: GRPCConnection, because reason: ConnectionEndReason) {
        connections[ObjectIdentifier(connection)] = nil
        metrics.ended(reason)
    }

    /// Closes each connection as soon as its client knows that it will, and its open calls are answered.
    func leave() {
        isLeaving = true
        for connection in Array(connections.values) { connection.beginEnd() }
        flush()
    }

    /// Closes what is still open.
    func closeAll() {
        for connection in Array(connections.values) { connection.close(because: .drain) }
        end()
    }
}
