import Glibc
import TestSupport
import Testing

extension FaultMatrix {
    /// Names and networks, in namespaces of the daemons' own.
    @Suite("The network", .enabled(if: Namespaces.areAllowed, "needs root, to make namespaces"))
    struct NetworkFaultTests {
        private static let name = "redis.test"

        private func startRedis(on address: String = "127.0.0.1", port: UInt16) throws -> RedisServer {
            try RedisServer(FaultMatrix.keepsCounts + ["--port", "\(port)", "--bind", address])
        }

        /// A daemon that knows its Redis by a name, and has reached it.
        private func startDaemon(_ names: OwnNames, port: UInt16) throws -> Daemon {
            let daemon = try FaultMatrix.startDaemon("redis://\(Self.name):\(port)", wrapper: names.wrapper)
            try waitUntilExact(daemon)
            return daemon
        }

        private func waitUntilExact(_ daemon: Daemon) throws {
            let client = try daemon.connect()
            let isExact = try eventually(within: 10) { try !client.check(newUser()).isDegraded }
            guard isExact else { throw TestFailure("Redis is not reached: \(daemon.process.errors)") }
        }

        @Test("The name stops resolving, and Redis is started again meanwhile: it is where it was")
        func nameGone() throws {
            let port = try freePort()
            let redis = try startRedis(port: port)
            let names = try OwnNames()
            try names.set(Self.name, to: "127.0.0.1")
            let daemon = try startDaemon(names, port: port)
            let row = FaultRow(fault: .nameGone, daemons: [daemon], reasons: ["redis_unreachable"])
            try row.run {
                try names.set(Self.name, to: nil)
                redis.end()
                pause(milliseconds: 400)
            } remove: {
                try redis.restart()
            }
        }

        @Test("The name server does not answer, and Redis is started again meanwhile")
        func nameServerSilent() throws {
            let port = try freePort()
            let redis = try startRedis(port: port)
            let names = try OwnNames()
            try names.set(Self.name, to: "127.0.0.1")
            let daemon = try startDaemon(names, port: port)
            let server = try SilentNameServer()
            let row = FaultRow(fault: .nameServerSilent, daemons: [daemon], reasons: ["redis_unreachable"])
            try row.run {
                try names.setNameServer(SilentNameServer.address)
                try names.set(Self.name, to: nil)
                redis.end()
                pause(milliseconds: 400)
            } remove: {
                try redis.restart()
            }
            #expect(server.wasAsked)
        }

        @Test("The name resolves to another address, and the old Redis is gone")
        func nameMoved() throws {
            let port = try freePort()
            let old = try startRedis(port: port)
            let new = try startRedis(on: "127.0.0.2", port: port)
            let names = try OwnNames()
            try names.set(Self.name, to: "127.0.0.1")
            let daemon = try startDaemon(names, port: port)
            let row = FaultRow(fault: .nameMoved, daemons: [daemon], reasons: ["redis_unreachable"], forgets: true)
            try row.run {
                old.end()
                pause(milliseconds: 300)
            } remove: {
                try names.set(Self.name, to: "127.0.0.2")
            }
            #expect(try new.calls(of: "evalsha") > 0)
        }

        @Test("One of two daemons is cut off from Redis: the other goes on, and together they keep the limit")
        func cutOff() throws {
            let redis = try RedisServer(
                ["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no"], wrapper: Namespaces.ownNetwork
            )
            let daemons = try (1...2).map {
                try FaultMatrix.startDaemon("redis://10.77.\($0).1:6379", wrapper: Namespaces.ownNetwork)
            }
            guard let server = redis.processID else { throw TestFailure("no Redis") }
            for (index, daemon) in daemons.enumerated() {
                try Namespaces.join(server, daemon.process.id, name: "veth\(index + 1)", number: index + 1)
            }
            for daemon in daemons { try waitUntilExact(daemon) }
            let row = FaultRow(fault: .cutOff, daemons: daemons, reasons: ["redis_timeout"])
            let before = try degraded(daemons[1])
            try row.run {
                try Namespaces.set("veth1", of: server, isUp: false)
                pause(milliseconds: 1_500)
            } remove: {
                try Namespaces.set("veth1", of: server, isUp: true)
            }
            #expect(try degraded(daemons[1]) == before)
        }

        private func degraded(_ daemon: Daemon) throws -> Double? {
            try daemon.metric(#"llm_rate_limit_degraded_checks_total{reason="redis_unreachable"}"#)
        }
    }
}
