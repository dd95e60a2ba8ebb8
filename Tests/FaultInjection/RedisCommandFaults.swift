import TestSupport

extension Fault {
    /// What somebody does to Redis by commands.
    static let redisCommandFaults: [Fault] = [
        Fault("SCRIPT FLUSH") { testbed, _ in
            for _ in 0..<5 {
                try testbed.redis.command("SCRIPT", "FLUSH")
                pause(milliseconds: 20)
            }
        },
        Fault("FLUSHALL") { testbed, _ in
            let start = systemMicroseconds()
            try testbed.redis.command("FLUSHALL")
            testbed.recorder.forgot(from: start, to: systemMicroseconds())
        },
        Fault("CLIENT KILL") { testbed, _ in
            for _ in 0..<3 {
                try testbed.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                try testbed.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
                pause(milliseconds: 30)
            }
        },
        Fault("CLIENT PAUSE") { testbed, draw in
            try testbed.redis.command("CLIENT", "PAUSE", "\(draw.durationMilliseconds)", "ALL")
            pause(milliseconds: draw.durationMilliseconds)
        },
        Fault("slow command") { testbed, draw in
            try testbed.redis.command("DEBUG", "SLEEP", seconds(draw.durationMilliseconds))
        },
        Fault("BUSY script") { testbed, draw in
            let script = Background { try? testbed.redis.command("EVAL", "while true do end", "0") }
            pause(milliseconds: Testbed.busyAfterMilliseconds + draw.durationMilliseconds)
            guard try eventually(within: 10, { try testbed.redis.command("SCRIPT", "KILL") == .status("OK") }) else {
                throw TestFailure("cannot end the busy script")
            }
            _ = try script.value()
        },
        Fault("memory full, noeviction") { testbed, draw in
            try testbed.redis.command("CONFIG", "SET", "maxmemory", "1")
            pause(milliseconds: draw.durationMilliseconds)
            try testbed.redis.command("CONFIG", "SET", "maxmemory", "0")
        },
        Fault("read-only replica") { testbed, draw in
            // Of a master that is not there: it keeps its data, and refuses to write.
            try testbed.redis.command("REPLICAOF", "127.0.0.1", "1")
            pause(milliseconds: draw.durationMilliseconds)
            try testbed.redis.command("REPLICAOF", "NO", "ONE")
        },
    ]
}

private func seconds(_ milliseconds: Int) -> String {
    "\(milliseconds / 1_000).\(String(milliseconds % 1_000 + 1_000).dropFirst())"
}
