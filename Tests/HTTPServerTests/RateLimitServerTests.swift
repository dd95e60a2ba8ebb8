import CoreMetrics
import Glibc
import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import RateLimitService
import RedisClient
import TestSupport
import Testing

@testable import HTTPServer

/// A gateway that listens on a Unix socket of its own, with a Redis or with one that is away for good.
private final class ListeningGateway: Sendable {
    let socketPath: String
    private let folder: TemporaryFolder
    private let service: CheckService
    private let channel: any Channel

    init(quota: Int, connectionLimit: Int = 100, redis: RedisServer? = nil) async throws {
        folder = try TemporaryFolder()
        socketPath = folder.file("gateway.sock")
        let group = MultiThreadedEventLoopGroup.singleton
        let eventLoops = Array(group.makeIterator().map { $0 as any EventLoop })
        let limit = Limit(name: "requests", quota: quota, windowMilliseconds: 3_600_000)
        let endpoint = RedisEndpoint(address: .unix(path: redis?.socketPath ?? "/nowhere"))
        service = try await CheckService.make(
            options: CheckServiceOptions(redis: .single(endpoint), deadlineMilliseconds: 10_000),
            policy: CheckPolicy(limit: limit, failureMode: .local), eventLoops: eventLoops,
            metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        if redis != nil { await service.start(patience: .seconds(10)) }
        let server = try await RateLimitServer.make(
            service: service, group: group, eventLoops: eventLoops,
            pages: ServerPages(version: "1", configuration: { [] }, metrics: { [] }),
            options: RateLimitServer.Options(connectionLimit: connectionLimit), factory: NOOPMetricsHandler.instance,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        try #require(withUnixAddress(socketPath) { bind(descriptor, $0, $1) } == 0)
        channel = try await server.listen(on: descriptor, for: .everyone)
    }

    func stop() async throws {
        try await channel.close().get()
        await service.stop()
    }
}

/// A client that sends as much as the server takes, and reads only when told to.
private final class GreedyClient {
    private let descriptor: CInt
    private(set) var sent = 0
    private(set) var received: [UInt8] = []
    private var answers = 0

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        try #require(withUnixAddress(path) { connect(descriptor, $0, $1) } == 0)
    }

    deinit { close(descriptor) }

    /// Sends the bytes over and over, up to `bound`, until nothing is taken any more.
    func send(_ bytes: [UInt8], upTo bound: Int) {
        while sent < bound, isReady(POLLOUT) {
            let start = sent % bytes.count
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + start, $0.count - start, CInt(MSG_NOSIGNAL))
            }
            if count > 0 { sent += count }
        }
    }

    /// Sends the rest of what was cut off, while it reads.
    func finish(_ bytes: [UInt8]) {
        let requests = (sent + bytes.count - 1) / bytes.count
        while sent < requests * bytes.count {
            receive(1)
            send(bytes, upTo: requests * bytes.count)
        }
        while answers < requests, receive(20_000) {}
        // What would be one too many.
        receive(50)
    }

    @discardableResult
    private func receive(_ waits: CInt) -> Bool {
        guard isReady(POLLIN, milliseconds: waits) else { return false }
        var part = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &part, part.count, 0)
        guard count > 0 else { return false }
        received += part[..<count]
        // An answer has one object, and only that has a brace.
        answers += part[..<count].count { $0 == UInt8(ascii: "}") }
        return true
    }

    private func isReady(_ event: CInt, milliseconds: CInt = 300) -> Bool {
        var poller = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        return poll(&poller, 1, milliseconds) > 0
    }
}

@Suite("A gateway on a real socket")
struct RateLimitServerTests {
    @Test(
        "stops reading a client that does not take its answers, and then gives it each of them once and in order",
        arguments: ["", "&x=%41"])
    func backpressure(_ rest: String) async throws {
        let quota = 1_000_000
        let gateway = try await ListeningGateway(quota: quota)
        let request = Array(get(["Host: a"], "user=\(someText)\(rest)").utf8)
        let (sent, received) = try Background {
            let client = try GreedyClient(gateway.socketPath)
            client.send(request, upTo: 64 << 20)
            let stalled = client.sent
            client.finish(request)
            #expect(stalled < 8 << 20, "the server goes on reading")
            return (client.sent / request.count, client.received)
        }.value()
        let remaining = String(decoding: received, as: UTF8.self).components("\"remaining\":").dropFirst().map {
            Int($0.prefix { $0.isNumber })
        }
        #expect(remaining.count == sent)
        #expect(remaining.elementsEqual((1...sent).map { quota - $0 }))
        try await gateway.stop()
    }

    @Test("answers once and in order what was held back while Redis hung, when all answers come at once")
    func heldBack() async throws {
        let redis = try RedisServer()
        let gateway = try await ListeningGateway(quota: 1_000_000, redis: redis)
        let request = Array(get(["Host: a"]).replacing("cost=7", "cost=1").utf8)
        let count = 2_000
        let received = try Background {
            let client = try GreedyClient(gateway.socketPath)
            redis.stop()
            client.send(request, upTo: count * request.count)
            redis.resume()
            client.finish(request)
            return client.received
        }.value()
        let remaining = String(decoding: received, as: UTF8.self).components("\"remaining\":").dropFirst().map {
            Int($0.prefix { $0.isNumber })
        }
        #expect(remaining.count >= RequestBounds.pipelined)
        #expect(remaining.elementsEqual((1...remaining.count).map { 1_000_000 - $0 }))
        try await gateway.stop()
    }

    @Test("closes a connection above the bound at once, and takes one again when another has gone")
    func connectionLimit() async throws {
        let gateway = try await ListeningGateway(quota: 20, connectionLimit: 2)
        try Background {
            func isServed() throws -> Bool {
                let connection = try HTTPConnection(.unix(gateway.socketPath))
                return (try? connection.request("GET", "/livez").status) == 200
            }
            var held = try (0..<2).map { _ in try HTTPConnection(.unix(gateway.socketPath)) }
            for connection in held { #expect(try connection.request("GET", "/livez").status == 200) }
            #expect(try !isServed())
            held.removeLast()
            var tries = 0
            while try !isServed(), tries < 1_000 {
                tries += 1
                pause(milliseconds: 2)
            }
            #expect(tries < 1_000)
        }.value()
        try await gateway.stop()
    }
}
