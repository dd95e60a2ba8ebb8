import Foundation
import TestSupport
import Testing

extension FaultMatrix {
    /// A system clock that is moved while checks are decided.
    @Suite("Clocks")
    struct ClockFaultTests {
        let clock: MovableClock

        init() throws { clock = try MovableClock() }

        /// Seconds of Redis's clock, less the system's.
        private func lead(of redis: RedisServer) throws -> Int {
            let seconds = try redis.command("TIME").elements.first?.text.flatMap { Int($0) } ?? 0
            return seconds - systemMicroseconds() / 1_000_000
        }

        @Test(
            "Redis's clock steps: nobody is denied wrongly, and no window gives more than its limit",
            arguments: [1, -1])
        func redisClock(sign: Int) throws {
            let redis = try RedisServer(environment: clock.environment)
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let fault = sign > 0 ? Fault.clockForward : .clockBack
            let row = FaultRow(fault: fault, daemons: [daemon])
            try row.run {
                try clock.move(seconds: sign * 600)
                let lead = try lead(of: redis)
                #expect(abs(lead - sign * 600) < 60)
                pause(milliseconds: 500)
            } remove: {
                try clock.move(seconds: 0)
                pause(milliseconds: 300)
            }
        }

        @Test("The daemon's clock steps: its decisions are Redis's, and nothing changes")
        func daemonClock() throws {
            let redis = try RedisServer()
            let daemon = try FaultMatrix.startDaemon(redis.url, environment: clock.environment)
            let client = try daemon.connect()
            let row = FaultRow(fault: .daemonClock, daemons: [daemon])
            let before = try client.request("GET", "/livez")["Date"]
            var forward: String?
            try row.run {
                try clock.move(seconds: 600)
                pause(milliseconds: 1_100)
                forward = try client.request("GET", "/livez")["Date"]
                try clock.move(seconds: -600)
                pause(milliseconds: 300)
            } remove: {
                try clock.move(seconds: 0)
            }
            let seconds = [before, forward].map { Self.date.date(from: $0 ?? "")?.timeIntervalSince1970 ?? 0 }
            // The clock did move, where the daemon looks at it at all.
            #expect(abs(seconds[1] - seconds[0] - 600) < 60, "\(before ?? "") \(forward ?? "")")
        }

        private static var date: DateFormatter {
            let format = DateFormatter()
            format.locale = Locale(identifier: "en_US_POSIX")
            format.timeZone = TimeZone(identifier: "GMT")
            format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
            return format
        }
    }
}
