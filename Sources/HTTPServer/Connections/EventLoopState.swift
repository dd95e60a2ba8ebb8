import DecisionTracing
import NIOCore
import RateLimitCore
import RateLimitService

/// What the connections of one event loop share: the engine that decides, the writer of answers, and the list of
/// connections that have something to flush.
///
/// Answers are written into their connections' buffers as they are decided and flushed once for each connection when
/// all decisions that had arrived are told: one system call for each connection and turn, however many answers.
final class EventLoopState {
    let eventLoop: any EventLoop
    let engine: CheckEngine
    let service: CheckService
    let pages: ServerPages
    let requestTimeout: TimeAmount
    let reports: AdminReports
    /// Who calls where headers and the peer alone tell it.
    var callers: CallerRules
    let writer: AnswerWriter
    /// Nil where decisions are not traced.
    let tracer: DecisionTracer?
    /// The last ordinary check of any connection.
    var known = RequestTemplate()
    private var unflushed: [ConnectionHandler] = []
    private(set) var connections: [ObjectIdentifier: ConnectionHandler] = [:]
    /// Whether the daemon ends soon: probes are told, and connections go on as before.
    var isDraining = false
    /// Whether connections end as soon as nothing is owed on them.
    private(set) var isLeaving = false

    init(
        service: CheckService, eventLoop: any EventLoop, pages: ServerPages, requestTimeout: TimeAmount,
        reports: AdminReports = AdminReports(), callers: CallerRules = CallerRules(),
        quotaHeaders: QuotaHeaders = .ietf, tracing: Tracing? = nil
    ) {
        self.eventLoop = eventLoop
        self.service = service
        self.pages = pages
        self.requestTimeout = requestTimeout
        self.reports = reports
        self.callers = callers
        tracer = tracing.map { DecisionTracer($0, .http) }
        engine = service.engine(on: eventLoop)
        writer = AnswerWriter(limitName: service.policy.limit.name, quotaHeaders: quotaHeaders)
        // Not weak: an object with weak references is retained and released more slowly, and each check does both here.
        engine.whenDelivered(self) { [unowned self] in flush() }
    }

    /// Hears of no more decisions. The last reference to it may go on another thread, where the engine must not be touched:
    /// so whoever made it ends it first, on its event loop.
    func end() { engine.endDelivery(to: self) }

    func willFlush(_ connection: ConnectionHandler) {
        unflushed.append(connection)
    }

    func flush() {
        // By index: a flush may close a connection, may have it take in what it held back, and so add to the list.
        var index = 0
        while index < unflushed.count {
            unflushed[index].flush()
            index += 1
        }
        unflushed.removeAll(keepingCapacity: true)
    }

    func opened(_ connection: ConnectionHandler) {
        connections[ObjectIdentifier(connection)] = connection
        if isLeaving { leaveLater([connection]) }
    }

    func closed(_ connection: ConnectionHandler) {
        connections[ObjectIdentifier(connection)] = nil
    }

    /// Closes each connection as soon as nothing is owed on it.
    ///
    /// A request may have been sent that has not been read yet. So a connection on which nothing is known to be owed
    /// stays a little longer; whoever asks meanwhile is answered and told that the connection ends. A request that has
    /// begun to arrive gets half a second for the rest.
    func leave() {
        isLeaving = true
        leaveLater(Array(connections.values))
    }

    private func leaveLater(_ connections: [ConnectionHandler]) {
        let loop = eventLoop.assumeIsolated()
        for (delay, isPatient) in [(TimeAmount.milliseconds(50), true), (.milliseconds(500), false)] {
            loop.scheduleTask(in: delay) {
                for connection in connections { connection.leave(isPatient: isPatient) }
            }
        }
    }

    /// Closes what is still open.
    func closeAll() {
        for connection in Array(connections.values) { connection.close() }
        end()
    }
}

/// What the pages that are no checks show, from those who know it.
public struct ServerPages: Sendable {
    /// The daemon's version.
    public let version: String
    /// The body of `/v1/config`: every option as JSON.
    public var configuration: @Sendable () -> [UInt8]
    /// Appends the metrics in Prometheus's text format.
    public var metrics: @Sendable () -> [UInt8]
    /// The member `configuration` of `/healthz`, as JSON.
    public var configurationState: @Sendable () -> String
    /// The description of all routes, which costs too much to be made for whoever asks.
    let openAPI: [UInt8]

    /// Makes the pages.
    public init(
        version: String, configuration: @escaping @Sendable () -> [UInt8], metrics: @escaping @Sendable () -> [UInt8],
        configurationState: @escaping @Sendable () -> String = { "null" }
    ) {
        self.version = version
        self.configuration = configuration
        self.metrics = metrics
        self.configurationState = configurationState
        openAPI = Array(OpenAPIDocument.json(of: .served, version: version).utf8)
    }
}
