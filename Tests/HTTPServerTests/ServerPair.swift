import NIOCore
import RateLimitService

@testable import HTTPServer

/// A gateway with the fast path and one without, which must answer alike.
struct ServerPair: Sendable {
    enum Comparison: Equatable {
        case same
        /// The slow path refuses what can only become malformed; the fast path still waits for the rest.
        case refusedEarlier
        case different(fast: String, other: String)
    }

    /// What follows the requests of a connection, so that no way can be left waiting for the rest of one.
    private static let end = Array(
        String(repeating: "\r\n\r\nGET /v1/version HTTP/1.1\r\nHost: a\r\n\r\n", count: 3).utf8
    )

    let eventLoop: any EventLoop
    private let fast: EmbeddedServer
    private let other: EmbeddedServer

    init(quota: Int = 20, limits: LimitsInForce = .none, eventLoop: any EventLoop) async throws {
        self.eventLoop = eventLoop
        fast = try await EmbeddedServer(quota: quota, limits: limits, eventLoop: eventLoop)
        other = try await EmbeddedServer(quota: quota, limits: limits, eventLoop: eventLoop)
    }

    /// Sends the same parts to a connection of each; called on the event loop.
    ///
    /// - Parameter taken: told what the fast one answered.
    func compare(_ parts: [[UInt8]], taken: (String) -> Void = { _ in }) -> Comparison {
        // One instant for both: a second that changes between them would change how long a denied user is to wait.
        let now = Int(NIODeadline.now().uptimeNanoseconds / 1_000)
        for server in [fast, other] { server.stopClock(atMicroseconds: now) }
        let connections = [fast.connect(), other.connect(usesFastPath: false)]
        defer { for connection in connections { connection.close() } }
        for part in parts + [Self.end] {
            for connection in connections { connection.send(part) }
        }
        let texts = connections.map(\.text)
        taken(texts[0])
        if texts[0] == texts[1], connections[0].isClosed == connections[1].isClosed { return .same }
        if texts[1].hasPrefix(texts[0]), !connections[0].isClosed, connections[1].isClosed { return .refusedEarlier }
        return .different(fast: printable(texts[0].utf8), other: printable(texts[1].utf8))
    }
}
