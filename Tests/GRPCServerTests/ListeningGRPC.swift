import CoreMetrics
import Foundation
import Glibc
import Listeners
import Logging
import NIOCore
import NIOPosix
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

/// A server on a socket of its own: a Unix socket, or a port for TLS.
final class ListeningGRPC: Sendable {
    /// How clients name it.
    let target: String
    let server: GRPCServer
    private let folder: TemporaryFolder
    private let service: CheckService
    private let channel: any Channel

    /// - Parameter predecessor: a server that takes no more connections, and whose socket's path this one takes over.
    init(
        tls: ServerTLS? = nil, requestTimeoutMilliseconds: Int = 5_000, connectionLimit: Int = 100,
        after predecessor: ListeningGRPC? = nil, metrics: any MetricsFactory = NOOPMetricsHandler.instance
    ) async throws {
        folder = try predecessor?.folder ?? TemporaryFolder()
        let group = MultiThreadedEventLoopGroup.singleton
        let eventLoops = Array(group.makeIterator().map { $0 as any EventLoop })
        service = try await EmbeddedGRPC.service(quota: 1_000_000, eventLoops: eventLoops)
        let factory = NOOPMetricsHandler.instance
        server = try await GRPCServer.make(
            service: service, group: group, eventLoops: eventLoops,
            connectionCount: ConnectionCount(limit: connectionLimit, factory: factory),
            filter: PeerFilter(
                allowed: nil, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
                factory: factory),
            options: GRPCServer.Options(requestTimeoutMilliseconds: requestTimeoutMilliseconds),
            metrics: GRPCMetrics(factory: metrics),
            methods: { engine in
                let methods = EmbeddedGRPC.Methods()
                return [
                    (EchoMethod.path, methods.echo), (CheckingMethod.path, CheckingMethod(engine)),
                    (SlowMethod.path, SlowMethod(engine.eventLoop)),
                    // For their names; nobody calls them here.
                    ("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", methods.echo),
                    ("/envoy.service.auth.v3.Authorization/Check", methods.echo),
                ]
            })
        if let tls {
            let listener = try #require(TCPListener.open("127.0.0.1:0").first)
            target = "localhost:\(listener.port)"
            channel = try await server.listen(on: listener.fileDescriptor, tls: tls)
        } else {
            let path = folder.file("grpc.sock")
            target = "unix:\(path)"
            if predecessor != nil { unlink(path) }
            let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            try #require(withUnixAddress(path) { Glibc.bind(descriptor, $0, $1) } == 0)
            channel = try await server.listen(on: descriptor)
        }
    }

    /// The path of its Unix socket.
    var path: String { String(target.dropFirst("unix:".count)) }

    /// Takes no more connections; those that are there go on.
    func stopListening() async throws { try await channel.close().get() }

    func stop() async throws {
        try? await channel.close().get()
        await server.close(patience: .milliseconds(0))
        await service.stop()
    }
}

/// gRPC's own client for Python.
enum PythonClient {
    /// Starts a command of `client.py`.
    static func start(_ arguments: String...) throws -> ChildProcess {
        try ChildProcess("\(clientsFolder)/grpc/bin/python", [clientScript] + arguments)
    }

    /// The lines that a command prints; it must end well.
    static func lines(_ process: ChildProcess) throws -> [String] {
        guard try process.wait(seconds: 60) == 0 else { throw TestFailure("client.py: \(process.errors)") }
        return process.output.split(separator: "\n").map(String.init)
    }

    private static let clientScript = #filePath.replacing("ListeningGRPC.swift", with: "client.py")
}

/// Where `scripts/setup-gateways` keeps the clients that it has made, a folder for each name.
let clientsFolder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/.build/gateways"

extension Trait where Self == ConditionTrait {
    /// Runs where these clients are there. `scripts/test` says at its end which are not: a machine may reach no registry.
    static func needs(_ names: String...) -> Self {
        let missing = names.filter { !FileManager.default.fileExists(atPath: "\(clientsFolder)/\($0)/packages") }
        return .enabled(if: missing.isEmpty, "not run: scripts/setup-gateways could not make \(missing)")
    }
}
