import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    @Suite("At a TCP address")
    struct ListenTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        /// The status of `/livez`, or the reason why nobody can connect.
        private func alive(_ address: Address) -> String {
            do {
                return "\(try HTTPConnection(address).request("GET", "/livez").status)"
            } catch {
                return "\(error)"
            }
        }

        /// The daemon answers a moment before it says so.
        private func servingLine(_ daemon: Daemon) throws -> String {
            eventually(within: 20) { !daemon.logLines(containing: "serving").isEmpty }
            return try #require(daemon.logLines(containing: "serving").first)
        }

        @Test("localhost and [::] take connections of both families, each other address its own")
        func families() throws {
            for (host, isPublic, version4, version6) in [
                ("localhost", "no", true, true), ("[::]", "yes", true, true), ("127.0.0.1", "no", true, false),
                ("[::1]", "no", false, true), ("0.0.0.0", "yes", true, false),
            ] {
                let port = try freePort()
                let daemon = try Daemon(redis: redis.url, ["LISTEN": "\(host):\(port)", "LISTEN_PUBLIC": isPublic])
                #expect((alive(.tcp(port)) == "200") == version4, "\(host)")
                #expect((alive(.tcp6(port)) == "200") == version6, "\(host)")
                #expect(try daemon.terminate() == 0)
            }
        }

        @Test("The line about serving names each address with its port, also one that the system chose")
        func named() throws {
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "localhost:0", "ALLOWED_UIDS": "0"])
            let line = try servingLine(daemon)
            let name = try #require(line.firstMatch(of: /127\.0\.0\.1:([0-9]+) \[::1\]:([0-9]+)/))
            #expect(name.1 == name.2 && name.1 != "0")
            #expect(alive(.tcp6(try #require(UInt16(name.2)))) == "200")
            #expect(daemon.logLines(containing: "does not hold on LLM_RATE_LIMIT_LISTEN=localhost:0").count == 1)
        }

        @Test(
            "Where there is no ::1, localhost is the address there is, and ::1 alone is an error that names it",
            .enabled(if: isRoot, "only root has networks of its own"))
        func withoutVersion6() throws {
            // In a network of its own, where nobody has brought the loopback device up.
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "localhost:8089"], wrapper: ["unshare", "-n"])
            let line = try servingLine(daemon)
            #expect(line.contains("127.0.0.1:8089") && !line.contains("[::1]"))
            let folder = try TemporaryFolder()
            let settings = ["REDIS_URL": redis.url, "LISTEN": "[::1]:8089"]
            let other = try ChildProcess(
                "unshare", ["-n", Daemon.program, "serve"], environment: Daemon.variables(folder, settings))
            #expect(try other.wait() == 1)
            #expect(other.errors.contains("cannot listen on [::1]:8089: bind: Cannot assign requested address"))
            #expect(TestSupport.access(of: folder.file("check")) == nil)
        }

        @Test("A port that another process has at one address of localhost is an error that names the address")
        func taken() throws {
            let port = try freePort()
            let first = try Daemon(redis: redis.url, ["LISTEN": "[::1]:\(port)"])
            let folder = try TemporaryFolder()
            let settings = ["REDIS_URL": redis.url, "LISTEN": "localhost:\(port)"]
            let second = try ChildProcess(
                Daemon.program, ["serve"], environment: Daemon.variables(folder, settings))
            #expect(try second.wait() == 1)
            #expect(second.errors.contains("cannot listen on [::1]:\(port): another process answers there"))
            withExtendedLifetime(first) {}
        }
    }
}
