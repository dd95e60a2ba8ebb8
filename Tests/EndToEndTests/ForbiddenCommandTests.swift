import TestSupport
import Testing

extension EndToEnd {
    @Suite("A service that forbids commands")
    struct ForbiddenCommandTests {
        /// How a service forbids something.
        enum Service: CustomTestStringConvertible, Sendable {
            /// Permissions taken away.
            case rules([String])
            /// Commands that are not there.
            case renamed([String])

            var testDescription: String { "\(self)" }
        }

        private static let load = "cannot use SCRIPT LOAD", evalsha = "cannot use EVALSHA"
        private static let subscribe = "cannot subscribe", publish = "cannot publish"

        @Test(
            "is said once for each, and checks under load are exact",
            arguments: [
                (Service.rules(["-script"]), [load]),
                (.rules(["-evalsha"]), [evalsha]),
                (.rules(["-script", "-evalsha"]), [load]),
                (.rules(["-subscribe"]), [subscribe]),
                (.rules(["resetchannels"]), [subscribe, publish]),
                (.rules(["-script", "-evalsha", "-subscribe", "-publish"]), [load, subscribe, publish]),
                (.renamed(["SCRIPT"]), [load]),
                (.renamed(["EVALSHA"]), [evalsha]),
                (.renamed(["SUBSCRIBE", "PUBLISH"]), [subscribe, publish]),
                (.renamed(["SCRIPT", "EVALSHA", "SUBSCRIBE", "PUBLISH"]), [load, subscribe, publish]),
            ] as [(Service, [String])]
        )
        func underLoad(service: Service, said: [String]) throws {
            let redis: RedisServer
            switch service {
            case .rules(let rules):
                redis = try RedisServer()
                try redis.connect().command(["ACL", "SETUSER", RedisServer.leastUser] + rules)
            case .renamed(let commands):
                redis = try RedisServer(commands.flatMap { ["--rename-command", $0, ""] })
            }
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1000", "THREADS": "2"])
            let users = [newUser(), newUser()]
            let allowed = try concurrently(8) { _ in
                let client = try daemon.connect()
                var allowed = 0
                for _ in 0..<15 {
                    try client.send((0..<20).map { HTTPConnection.checkText(users[$0 % 2]) }.joined())
                    for _ in 0..<20 {
                        let response = try client.response()
                        #expect(!response.isDegraded)
                        if response.isAllowed { allowed += 1 }
                    }
                }
                return allowed
            }
            // 8 clients asked 1,200 times for each user.
            #expect(allowed.reduce(0, +) == 2_000)
            let client = try daemon.connect()
            for user in users { #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 1_000) }
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(users[0])").status == 204)
            // The other event loop is told a moment later, and forgets its denial then.
            var left: Int?
            let isFree = try eventually(within: 60) {
                left = try client.check(users[0]).number("remaining")
                return left != 0
            }
            #expect(isFree && left == 999)
            #expect(try client.request("GET", "/readyz?require=redis").status == 200)
            // Not said again when the connections come back, nor by the other event loop.
            try redis.command("CLIENT", "KILL", "TYPE", "normal")
            try redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            #expect(try eventually(within: 20) { try !daemon.connect().check(newUser()).isDegraded })
            #expect(try eventually(within: 20) { try client.request("GET", "/readyz?require=redis").status == 200 })
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(users[1])").status == 204)
            // A reset is answered before the others have been told of it.
            #expect(eventually(within: 20) { said.allSatisfy { !daemon.logLines(containing: $0).isEmpty } })
            for text in [Self.load, Self.evalsha, Self.subscribe, Self.publish] {
                #expect(daemon.logLines(containing: text).count == (said.contains(text) ? 1 : 0), "\(text)")
            }
        }
    }
}
