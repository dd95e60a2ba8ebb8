import Foundation
import Synchronization
import TestSupport

/// Clients that ask one after the other, each on a connection of its own, until they are told to stop.
struct Load {
    /// What became of one request.
    struct Exchange: Sendable {
        /// When it was sent and when its answer was there, in milliseconds of a clock that never steps.
        var sentAt: Double
        var answeredAt: Double
        var status: Int
        var isDegraded: Bool
        /// How long the daemon's thread and the client's were ready and had no processor meanwhile.
        var processorWait: Double
        var milliseconds: Double { answeredAt - sentAt }
    }

    private let flag = Flag()
    private let checks: [Background<[Exchange]>]
    private let probes: Background<[Exchange]>
    private let sleeper: Background<Double>

    /// Starts them. Each check is of a user of its own.
    ///
    /// Beside them one client asks `reference`, a daemon that has nothing else to do, for `/livez`, and one thread only
    /// sleeps: how late these are is what the machine adds to every answer, and what a bound has to allow for.
    ///
    /// - Parameter pauseMilliseconds: how long a client waits between an answer and its next check, at most.
    init(on daemon: Daemon, clients: Int, reference: Daemon? = nil, pauseMilliseconds: Int = 0) {
        let flag = flag
        @Sendable func ask(
            _ daemon: Daemon, pauseMilliseconds: Int = 0, _ request: @Sendable () -> String
        ) throws -> [Exchange] {
            let connection = try daemon.connect()
            let waits = [ProcessorWait(), ProcessorWait(of: daemon)]
            var exchanges: [Exchange] = []
            while !flag.isSet {
                let text = request()
                if pauseMilliseconds > 0 { pause(milliseconds: Int.random(in: 0...pauseMilliseconds)) }
                let before = waits.map(\.milliseconds)
                let start = monotonicMilliseconds()
                try connection.send(text)
                let response = try connection.response()
                let end = monotonicMilliseconds()
                let wait = zip(waits, before).reduce(0) { $0 + $1.0.milliseconds - $1.1 }
                exchanges.append(
                    Exchange(
                        sentAt: start, answeredAt: end, status: response.status, isDegraded: response.isDegraded,
                        processorWait: wait
                    )
                )
            }
            return exchanges
        }
        checks = (0..<clients).map { _ in
            Background { try ask(daemon, pauseMilliseconds: pauseMilliseconds) { HTTPConnection.checkText(newUser()) } }
        }
        probes = Background { try ask(reference ?? daemon) { HTTPConnection.text("GET", "/livez") } }
        sleeper = Background {
            var worst = 0.0
            while !flag.isSet {
                let start = monotonicMilliseconds()
                pause(milliseconds: 1)
                worst = max(worst, monotonicMilliseconds() - start - 1)
            }
            return worst
        }
    }

    /// What all of them saw.
    struct Result {
        var checks: [Exchange]
        /// How late the machine itself made what has nothing to do with Redis, at worst.
        var noiseMilliseconds: Double

        var longestMilliseconds: Double { checks.map(\.milliseconds).max() ?? 0 }

        /// The same without the time in which neither the daemon nor the client could have gone on.
        var longestOwnMilliseconds: Double { checks.map { $0.milliseconds - $0.processorWait }.max() ?? 0 }

        /// The checks that were sent within a span.
        func sent(from start: Double, to end: Double) -> [Exchange] {
            checks.filter { $0.sentAt >= start && $0.sentAt < end }
        }
    }

    /// Stops them; throws where one of them got no answer.
    func end() throws -> Result {
        flag.set()
        let checks = self.checks.map { thread in Swift.Result { try thread.value() } }
        let probes = try self.probes.value()
        let sleeper = try self.sleeper.value()
        return Result(
            checks: try checks.flatMap { try $0.get() },
            noiseMilliseconds: max(sleeper, probes.map(\.milliseconds).max() ?? 0)
        )
    }
}
