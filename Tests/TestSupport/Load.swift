import Foundation
import Synchronization

/// Clients that ask one after the other, each on a connection of its own, until they are told to stop.
package struct Load {
    /// What became of one request.
    package struct Exchange: Sendable {
        /// Who was asked for; empty where that is of no interest.
        package var user: String
        /// When it was sent and when its answer was there, in milliseconds of a clock that never steps.
        package var sentAt: Double
        package var answeredAt: Double
        /// 0 where the connection was lost before an answer came.
        package var status: Int
        /// Why Redis did not decide; nil where it did.
        package var degradedReason: String?
        /// How long the daemon's thread and the client's were ready and had no processor meanwhile.
        package var processorWait: Double

        package init(
            user: String, sentAt: Double, answeredAt: Double, status: Int, degradedReason: String?,
            processorWait: Double
        ) {
            self.user = user
            self.sentAt = sentAt
            self.answeredAt = answeredAt
            self.status = status
            self.degradedReason = degradedReason
            self.processorWait = processorWait
        }

        package var isDegraded: Bool { degradedReason != nil }
        package var milliseconds: Double { answeredAt - sentAt }
        package var ownMilliseconds: Double { milliseconds - processorWait }
    }

    private let flag: Flag
    private let answers = Tally()
    private let checks: [Background<[Exchange]>]
    private let probes: Background<[Exchange]>
    private let sleeper: Background<Double>

    /// Starts them, spread evenly over the daemons.
    ///
    /// Beside them one client asks `reference`, a daemon that has nothing else to do, for `/livez`, and one thread only
    /// sleeps: how late these are is what the machine adds to every answer, and what a bound has to allow for.
    ///
    /// - Parameters:
    ///   - pauseMilliseconds: how long a client waits between an answer and its next check, at most.
    ///   - reconnects: whether a client whose connection is lost connects again; else it is an error.
    ///   - user: who asks next; a user of its own for each check where nothing else is said.
    package init(
        on daemons: [Daemon], clients: Int, reference: Daemon? = nil, pauseMilliseconds: Int = 0,
        reconnects: Bool = false, user: @escaping @Sendable () -> String = { newUser() }
    ) {
        let flag = Flag()
        let answers = answers
        self.flag = flag
        checks = (0..<clients).map { index in
            let daemon = daemons[index % daemons.count]
            return Background {
                var exchanges: [Exchange] = []
                while !flag.isSet {
                    do {
                        try Self.ask(daemon, pauseMilliseconds, until: flag, into: &exchanges, counting: answers) {
                            let user = user()
                            return (user, HTTPConnection.checkText(user))
                        }
                    } catch  where reconnects {
                        pause(milliseconds: 5)
                    }
                }
                return exchanges
            }
        }
        let probed = reference ?? daemons[0]
        probes = Background {
            var exchanges: [Exchange] = []
            let text = HTTPConnection.text("GET", "/livez")
            try Self.ask(probed, 0, until: flag, into: &exchanges, counting: Tally()) { ("", text) }
            return exchanges
        }
        sleeper = oversleep(until: flag)
    }

    package init(on daemon: Daemon, clients: Int, reference: Daemon? = nil, pauseMilliseconds: Int = 0) {
        self.init(on: [daemon], clients: clients, reference: reference, pauseMilliseconds: pauseMilliseconds)
    }

    /// Asks on one connection; a request that gets no answer is noted as well before the error is thrown.
    private static func ask(
        _ daemon: Daemon, _ pauseMilliseconds: Int, until flag: Flag, into exchanges: inout [Exchange],
        counting answers: Tally, _ request: () -> (user: String, text: String)
    ) throws {
        let connection = try daemon.connect()
        let waits = [ProcessorWait(), ProcessorWait(of: daemon)]
        while !flag.isSet {
            let (user, text) = request()
            if pauseMilliseconds > 0 { pause(milliseconds: Int.random(in: 0...pauseMilliseconds)) }
            let before = waits.map(\.milliseconds)
            let start = monotonicMilliseconds()
            let response = Swift.Result {
                guard try connection.send(text) else { throw ConnectionClosed(received: "") }
                return try connection.response()
            }
            let end = monotonicMilliseconds()
            // A thread that has ended meanwhile tells nothing any more.
            let wait = zip(waits, before).reduce(0) { $0 + max(0, $1.0.milliseconds - $1.1) }
            let answer = try? response.get()
            exchanges.append(
                Exchange(
                    user: user, sentAt: start, answeredAt: end, status: answer?.status ?? 0,
                    degradedReason: answer?.degradedReason, processorWait: wait
                )
            )
            _ = try response.get()
            answers.add()
        }
    }

    /// Waits until this many more checks have been answered, and says whether they were: whatever goes on meanwhile,
    /// clients wait for it no longer than the guard against a test that hangs.
    package func hasAnswers(more count: Int) -> Bool {
        let before = answers.value
        return eventually(within: 60) { answers.value >= before + count }
    }

    /// What all of them saw.
    package struct Result {
        package var checks: [Exchange]
        /// How late the machine itself made what has nothing to do with Redis, at worst.
        package var noiseMilliseconds: Double

        package var longestMilliseconds: Double { checks.map(\.milliseconds).max() ?? 0 }

        /// The same without the time in which neither the daemon nor the client could have gone on.
        package var longestOwnMilliseconds: Double { checks.map(\.ownMilliseconds).max() ?? 0 }

        /// The checks that were sent within a span.
        package func sent(from start: Double, to end: Double) -> [Exchange] {
            checks.filter { $0.sentAt >= start && $0.sentAt < end }
        }
    }

    /// Stops them; throws where one of them got no answer.
    package func end() throws -> Result {
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
