import NIOCore
import RateLimitService

/// `grpc.health.v1.Health` on one event loop, by whole server and by service: as `/readyz` has it, all are served until
/// the daemon drains. Without Redis calls are answered too.
final class ServingHealth {
    static let checkPath = "/grpc.health.v1.Health/Check"
    static let watchPath = "/grpc.health.v1.Health/Watch"
    /// What `HealthCheckResponse` says.
    enum Status: Int {
        case serving = 1
        case notServing = 2
        case serviceUnknown = 3
    }

    private let services: Set<String>
    /// Whether the daemon ends soon.
    var isDraining = false { didSet { tellWatchers() } }
    private var watchers: [ObjectIdentifier: WatchCall] = [:]

    /// - Parameter services: those that are asked about by name, beside the whole server by none.
    init(services: [String]) { self.services = Set(services).union([""]) }

    /// The status of a service; of the whole server for the empty name.
    func status(of service: String) -> Status {
        guard services.contains(service) else { return .serviceUnknown }
        return isDraining ? .notServing : .serving
    }

    /// Reads the service's name in a `HealthCheckRequest`.
    static func service(_ message: UnsafeRawBufferPointer) throws(ProtobufError) -> String {
        var reader = ProtobufReader(message)
        var service = ""
        while let field = try reader.next() {
            if field == .bytes(1) { service = try reader.text() } else { try reader.skip(field) }
        }
        return service
    }

    static func response(_ status: Status) -> ByteBuffer {
        var message = ByteBuffer()
        message.writeField(1, number: status.rawValue)
        return message
    }

    func began(_ watcher: WatchCall) { watchers[ObjectIdentifier(watcher)] = watcher }

    func ended(_ watcher: WatchCall) { watchers[ObjectIdentifier(watcher)] = nil }

    private func tellWatchers() {
        for watcher in Array(watchers.values) { watcher.tell() }
    }
}

/// Answers what the status is now.
final class HealthCheckMethod: UnaryMethod {
    private let health: ServingHealth

    init(_ health: ServingHealth) { self.health = health }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        let service: String
        do throws(ProtobufError) {
            service = try ServingHealth.service(message)
        } catch {
            throw .malformed("HealthCheckRequest", error)
        }
        let status = health.status(of: service)
        guard status != .serviceUnknown else {
            throw GRPCError(code: .notFound, message: "cannot tell the health of \(service): there is no such service")
        }
        responder.respond(ServingHealth.response(status), ticket: ticket)
        return nil
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {
        preconditionFailure("health asks the engine nothing")
    }
}

/// Tells the status now, and each time that it changes.
final class HealthWatchMethod: StreamingMethod {
    private let health: ServingHealth

    init(_ health: ServingHealth) { self.health = health }

    func open(_ stream: MessageStream) -> any StreamingCall { WatchCall(health: health, stream: stream) }
}

/// One client that watches a service.
final class WatchCall: StreamingCall {
    private let health: ServingHealth
    private let stream: MessageStream
    private var service: String?
    private var told: ServingHealth.Status?

    init(health: ServingHealth, stream: MessageStream) {
        self.health = health
        self.stream = stream
    }

    func receive(_ message: ByteBuffer) {
        guard service == nil else { return stream.finish(.unimplemented) }
        let named = message.withUnsafeReadableBytes { bytes in
            Result { () throws(ProtobufError) in try ServingHealth.service(bytes) }
        }
        guard case .success(let name) = named else { return stream.finish(.internalError) }
        service = name
        health.began(self)
        tell()
    }

    /// Sends the status, unless it was the last that was sent.
    func tell() {
        guard let service else { return }
        let status = health.status(of: service)
        guard status != told else { return }
        told = status
        stream.send(ServingHealth.response(status))
    }

    func clientEnded() {
        // It may have said all it will, and goes on listening.
        if service == nil { stream.finish(.unimplemented) }
    }

    func ended() { health.ended(self) }
}
