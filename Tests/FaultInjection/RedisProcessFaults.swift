import TestSupport

extension Fault {
    /// What happens to Redis's process.
    static let redisProcessFaults: [Fault] = [
        Fault("Redis killed -9") { testbed, draw in
            // Nothing is saved: all windows are gone when the process is.
            let start = systemMicroseconds()
            testbed.redis.end()
            testbed.recorder.forgot(from: start, to: systemMicroseconds())
            pause(milliseconds: draw.durationMilliseconds)
            try testbed.redis.restart()
        },
        Fault("Redis stopped") { testbed, draw in
            testbed.redis.stop()
            pause(milliseconds: draw.durationMilliseconds)
            testbed.redis.resume()
        },
        Fault("Redis stopped for long") { testbed, draw in
            // Longer than a daemon keeps a silent connection.
            testbed.redis.stop()
            pause(milliseconds: 1_500 + draw.durationMilliseconds)
            testbed.redis.resume()
        },
        Fault("Redis stutters") { testbed, draw in
            for round in 0..<8 {
                testbed.redis.stop()
                // About a decision's deadline: some checks are given up, and some are not.
                pause(milliseconds: 35 + (draw.durationMilliseconds + 7 * round) % 40)
                testbed.redis.resume()
                pause(milliseconds: 30)
            }
        },
    ]
}
