import Glibc
import Listeners
import NIOCore
import TestSupport
import Testing

@testable import GRPCServer

@Suite("gRPC's own client for Python", .needs("grpc"))
struct RealClientTests {
    @Test("is answered short messages, a long one in several frames, and 2,000 calls at once")
    func echo() async throws {
        let server = try await ListeningGRPC()
        let lines = try PythonClient.lines(try PythonClient.start("echo", server.target))
        #expect(lines == ["hello", "True", "\((0..<2000).reduce(0, +))"])
        try await server.stop()
    }

    @Test("sees each error as a code and a text, on a connection that goes on")
    func errors() async throws {
        let server = try await ListeningGRPC()
        let lines = try PythonClient.lines(try PythonClient.start("errors", server.target))
        #expect(
            lines == [
                "UNIMPLEMENTED cannot call: there is no method of this path",
                "RESOURCE_EXHAUSTED cannot read the message: it has more than 65536 bytes",
                "INVALID_ARGUMENT cannot read the user: 100 % 'wrong'\u{e9}",
                "UNIMPLEMENTED cannot read the message: it is compressed; accepted is identity",
                "DEADLINE_EXCEEDED Deadline Exceeded", "OK",
            ])
        try await server.stop()
    }

    @Test(
        "is told by health that all is served until the daemon drains, by server and by service, and by Watch at once")
    func health() async throws {
        let server = try await ListeningGRPC()
        #expect(
            try PythonClient.lines(try PythonClient.start("health", server.target)) == [
                "SERVING", "SERVING", "NOT_FOUND",
            ])
        let watch = try PythonClient.start("watch", server.target)
        #expect(eventually(within: 20) { watch.output == "SERVING\n" })
        server.server.beginDraining()
        #expect(try PythonClient.lines(watch) == ["SERVING", "NOT_SERVING"])
        #expect(
            try PythonClient.lines(try PythonClient.start("health", server.target)) == [
                "NOT_SERVING", "NOT_SERVING", "NOT_FOUND",
            ])
        try await server.stop()
    }

    @Test("finds the services, their methods and their messages by reflection")
    func reflection() async throws {
        let server = try await ListeningGRPC()
        let lines = try PythonClient.lines(try PythonClient.start("reflect", server.target))
        #expect(
            lines == [
                "envoy.service.auth.v3.Authorization", "envoy.service.ratelimit.v3.RateLimitService", "test.Echo",
                "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit "
                    + "envoy.service.ratelimit.v3.RateLimitRequest envoy.service.ratelimit.v3.RateLimitResponse",
                "envoy.service.auth.v3.Authorization.Check envoy.service.auth.v3.CheckRequest "
                    + "envoy.service.auth.v3.CheckResponse",
                "grpc.health.v1.Health.Check grpc.health.v1.HealthCheckRequest grpc.health.v1.HealthCheckResponse",
                "grpc.health.v1.Health.Watch grpc.health.v1.HealthCheckRequest grpc.health.v1.HealthCheckResponse",
                "google.protobuf.Duration",
            ])
        try await server.stop()
    }

    @Test("loses no call while the server closes its connections")
    func drain() async throws {
        let server = try await ListeningGRPC()
        let client = try PythonClient.start("load", server.target, "2")
        #expect(eventually(within: 20) { server.server.connections > 0 })
        // Calls that are under way for a quarter of a second, and new ones all the time; the last ones find nobody.
        usleep(700_000)
        try await server.stopListening()
        let other = try await ListeningGRPC(after: server)
        await server.server.close(patience: .seconds(20))
        #expect(try PythonClient.lines(client) == ["True"])
        try await other.stop()
    }
}

@Suite("gRPC over TLS", .needs("grpc"))
struct TLSTests {
    @Test("takes clients that know the authority, and clients with a certificate where one is asked for")
    func certificates() async throws {
        let authority = try CertificateAuthority()
        let clients = try CertificateAuthority()
        let certificate = try authority.issue("server")
        let open = try await ListeningGRPC(
            tls: ServerTLS(certificateFile: certificate.file, keyFile: certificate.keyFile))
        #expect(try PythonClient.lines(try PythonClient.start("tls", open.target, authority.file)) == ["hello"])
        #expect(try PythonClient.lines(try PythonClient.start("tls", open.target, clients.file)) == ["UNAVAILABLE"])
        try await open.stop()

        let closed = try await ListeningGRPC(
            tls: ServerTLS(
                certificateFile: certificate.file, keyFile: certificate.keyFile, clientAuthoritiesFile: clients.file))
        let known = try clients.issue("client")
        let unknown = try authority.issue("client")
        #expect(
            try PythonClient.lines(
                try PythonClient.start("tls", closed.target, authority.file, known.file, known.keyFile)) == ["hello"])
        #expect(
            try PythonClient.lines(
                try PythonClient.start("tls", closed.target, authority.file, unknown.file, unknown.keyFile))
                == ["UNAVAILABLE"])
        #expect(
            try PythonClient.lines(try PythonClient.start("tls", closed.target, authority.file)) == ["UNAVAILABLE"])
        try await closed.stop()
    }

    @Test("says which file cannot be used, and why")
    func files() throws {
        let authority = try CertificateAuthority()
        let one = try authority.issue("one")
        let other = try authority.issue("other")
        func problem(_ certificate: String, _ key: String, _ clients: String? = nil) -> String? {
            do throws(ServerTLSError) {
                let tls = ServerTLS(certificateFile: certificate, keyFile: key, clientAuthoritiesFile: clients)
                try tls.check()
                return nil
            } catch {
                return "\(error)"
            }
        }
        #expect(problem(one.file, one.keyFile) == nil)
        #expect(problem(one.file, one.keyFile, authority.file) == nil)
        #expect(
            problem("/nowhere", one.keyFile) == "cannot use the gRPC certificate: No such file or directory")
        #expect(problem(one.keyFile, one.keyFile) == "cannot use the gRPC certificate: it holds no PEM certificate")
        #expect(
            problem(one.file, one.file)
                == "cannot use the gRPC certificate's key: it holds no PEM key that needs no passphrase")
        #expect(
            problem(one.file, other.keyFile)
                == "cannot use the gRPC certificate's key: it is not the key of the certificate")
        #expect(
            problem(one.file, one.keyFile, one.keyFile)
                == "cannot use the authorities of gRPC clients: it holds no PEM certificate")
    }
}
