import TestSupport
import Testing

extension FaultMatrix {
    /// A Redis that is there and does not do what it is asked.
    @Suite("Refusals")
    struct RefusalFaultTests {
        let redis: RedisServer

        init() throws {
            redis = try RedisServer(["--enable-protected-configs", "yes", "--busy-reply-threshold", "100"])
        }

        private let lastsMilliseconds = 500

        /// A row in which Redis says no for a while.
        private func run(
            _ fault: Fault, _ daemon: Daemon, reasons: Set<String> = ["redis_error"],
            inject: () throws -> Void, remove: () throws -> Void
        ) throws {
            try FaultRow(fault: fault, daemons: [daemon], reasons: reasons).run {
                try inject()
                pause(milliseconds: lastsMilliseconds)
            } remove: {
                try remove()
            }
        }

        private func expectOK(_ reply: RedisReply) { #expect(reply == .status("OK")) }

        @Test("Memory full, and nothing may be evicted")
        func maxmemory() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            try run(.maxmemory, daemon) {
                expectOK(try redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction"))
            } remove: {
                expectOK(try redis.command("CONFIG", "SET", "maxmemory", "0"))
            }
        }

        @Test("The last snapshot failed, so nothing may be written")
        func misconf() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let gone = try TemporaryFolder()
            try run(.misconf, daemon) {
                expectOK(try redis.command("CONFIG", "SET", "save", "3600 1000000", "dir", gone.path))
                gone.remove()
                try redis.command("BGSAVE")
                let hasFailed = try eventually(within: 10) {
                    try redis.command("INFO", "persistence").text?.contains("rdb_last_bgsave_status:err") == true
                }
                #expect(hasFailed)
            } remove: {
                expectOK(try redis.command("CONFIG", "SET", "save", "", "dir", redis.folder.path))
            }
        }

        @Test("Made the replica of a master that is not there")
        func readOnly() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            try run(.readOnly, daemon) {
                expectOK(try redis.command("REPLICAOF", "127.0.0.1", "\(try freePort())"))
            } remove: {
                expectOK(try redis.command("REPLICAOF", "NO", "ONE"))
            }
        }

        @Test("Busy with a script that does not end")
        func busy() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            var script: Background<RedisReply>?
            try run(.busy, daemon) {
                let connection = redis.socketPath
                script = Background { try RedisConnection(connection).command("EVAL", "while true do end", "0") }
            } remove: {
                expectOK(try redis.command("SCRIPT", "KILL"))
            }
            let reply = try script?.value()
            #expect(reply?.text?.contains("Script killed") == true, "\(String(describing: reply))")
        }

        @Test("Keys of another type under some users' names fail those users' checks alone")
        func wrongType() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let users = (0..<4).map { _ in newUser() }
            let stop = Flag()
            let asked = Tally()
            var responses: [HTTPResponse] = []
            let row = FaultRow(fault: .wrongType, daemons: [daemon])
            let figures = try row.run {
                for user in users { try redis.command("LPUSH", "llm-rate:\(user)", "x") }
                let asking = Background {
                    let client = try daemon.connect()
                    var responses: [HTTPResponse] = []
                    while !stop.isSet {
                        responses.append(try client.check(users[responses.count % users.count]))
                        asked.add()
                    }
                    return responses
                }
                pause(milliseconds: lastsMilliseconds)
                #expect(eventually(within: 20) { asked.value > 10 })
                stop.set()
                responses = try asking.value()
            } remove: {
                for user in users { try redis.command("DEL", "llm-rate:\(user)") }
            }
            #expect(responses.count > 10)
            #expect(responses.allSatisfy { $0.status == 200 && $0.isDegraded })
            #expect(responses.contains { $0.degradedReason == "redis_error" })
            // They were in the same batches as others, which Redis decided.
            #expect(!figures.reasons.contains("redis_error"))
            #expect(try daemon.connect().check(users[0]).number("remaining") == 19)
        }

        @Test("The password is changed, and connections are closed")
        func passwordChanged() throws {
            expectOK(try redis.command("ACL", "SETUSER", "limiter", "on", ">old", "allkeys", "allchannels", "+@all"))
            let daemon = try FaultMatrix.startDaemon(redis.url(user: "limiter", password: "old"))
            try run(.passwordChanged, daemon) {
                expectOK(try redis.command("ACL", "SETUSER", "limiter", "resetpass", ">new"))
                try redis.command("CLIENT", "KILL", "USER", "limiter")
            } remove: {
                expectOK(try redis.command("ACL", "SETUSER", "limiter", ">old"))
            }
        }

        @Test("Permissions are taken away while connected, and given back")
        func permissionsRevoked() throws {
            expectOK(try redis.command("ACL", "SETUSER", "limiter", "on", ">old", "allkeys", "allchannels", "+@all"))
            let daemon = try FaultMatrix.startDaemon(redis.url(user: "limiter", password: "old"))
            try run(.permissionsRevoked, daemon) {
                expectOK(try redis.command("ACL", "SETUSER", "limiter", "-@all"))
            } remove: {
                expectOK(try redis.command("ACL", "SETUSER", "limiter", "+@all"))
            }
            // Not with the script's whole text for ever after; where EVAL was taken just as EVALSHA had been refused, the
            // next try is a second away.
            let client = try daemon.connect()
            let goByDigest = try eventually(within: 20) {
                let before = try redis.calls(of: "eval")
                for _ in 0..<10 { #expect(try client.check(newUser()).status == 200) }
                return try redis.calls(of: "eval") == before
            }
            #expect(goByDigest)
        }

        @Test("The user is deleted while connected, and made again")
        func userDeleted() throws {
            let user = ["ACL", "SETUSER", "limiter", "on", ">old", "allkeys", "allchannels", "+@all"]
            let control = try redis.connect()
            expectOK(try control.command(user))
            let daemon = try FaultMatrix.startDaemon(redis.url(user: "limiter", password: "old"))
            try run(.userDeleted, daemon) {
                let deleted = try control.command("ACL", "DELUSER", "limiter")
                #expect(deleted == .integer(1))
            } remove: {
                expectOK(try control.command(user))
            }
        }

        @Test("CLIENT KILL again and again")
        func clientKill() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(
                fault: .clientKill, daemons: [daemon], reasons: ["redis_unreachable"], logLines: 30
            )
            try row.run {
                for _ in 0..<10 {
                    try redis.command("CLIENT", "KILL", "TYPE", "normal")
                    try redis.command("CLIENT", "KILL", "TYPE", "pubsub")
                    pause(milliseconds: 60)
                }
            }
        }

        @Test("CLIENT PAUSE: connected, and nothing is answered")
        func clientPause() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            try run(.clientPause, daemon, reasons: ["redis_timeout"]) {
                expectOK(try redis.command("CLIENT", "PAUSE", "700", "ALL"))
            } remove: {
                pause(milliseconds: 700 - lastsMilliseconds)
            }
        }

        @Test("No connection is left for the daemon")
        func maxclients() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let control = try redis.connect()
            try run(.maxclients, daemon, reasons: ["redis_unreachable", "redis_error"]) {
                expectOK(try control.command("CONFIG", "SET", "maxclients", "1"))
                try control.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                try control.command("CLIENT", "KILL", "TYPE", "pubsub")
            } remove: {
                expectOK(try control.command("CONFIG", "SET", "maxclients", "1000"))
            }
        }
    }
}
