import Foundation
import RedisClient
import Synchronization
import TestSupport

/// One request of a load, and what became of it.
struct Exchange: Sendable {
    var user: Int
    /// When it was sent and when its answer was there, in milliseconds of a clock that never steps.
    var sentAt: Double
    var answeredAt: Double
    var status: Int
    var isDegraded: Bool
    /// How long the daemon's thread and the client's were ready and had no processor meanwhile.
    var processorWait: Double

    var isAdmitted: Bool { status == 200 && !isDegraded }
}

/// Clients that ask for users one after the other, each on a connection of its own, until they are told to stop.
struct ClusterLoad {
    private let flag = Flag()
    private let clients: [Background<[Exchange]>]
    private let sleeper: Background<Double>
    private let counter = Tally()
    private let answers = Tally()

    /// How many requests have begun.
    var begun: Int { counter.value }

    /// Waits until this many more have been answered, and says whether they were.
    func hasAnswers(more count: Int) -> Bool {
        let before = answers.value
        return eventually(within: 60) { answers.value >= before + count }
    }

    /// Starts them; client by client they go through the daemons.
    ///
    /// - Parameter next: the user of the request of a number; requests are numbered in the order in which they begin.
    init(on daemons: [Daemon], clients: Int, next: @escaping @Sendable (Int) -> (index: Int, user: String)) {
        let flag = flag
        let counter = counter
        let answers = answers
        self.clients = (0..<clients).map { client in
            Background {
                let daemon = daemons[client % daemons.count]
                let connection = try daemon.connect()
                let waits = [ProcessorWait(), ProcessorWait(of: daemon)]
                var exchanges: [Exchange] = []
                while !flag.isSet {
                    let (index, user) = next(counter.next())
                    let before = waits.map(\.milliseconds)
                    let start = monotonicMilliseconds()
                    let response = try connection.check(user)
                    let end = monotonicMilliseconds()
                    answers.add()
                    exchanges.append(
                        Exchange(
                            user: index, sentAt: start, answeredAt: end, status: response.status,
                            isDegraded: response.isDegraded,
                            processorWait: zip(waits, before).reduce(0) { $0 + $1.0.milliseconds - $1.1 }
                        )
                    )
                }
                return exchanges
            }
        }
        sleeper = oversleep(until: flag)
    }

    /// Stops them; throws where one of them got no answer.
    func end(limit: Int) throws -> ClusterLoadResult {
        flag.set()
        let results = clients.map { client in Result { try client.value() } }
        let noise = try sleeper.value()
        return ClusterLoadResult(
            exchanges: try results.flatMap { try $0.get() }, limit: limit, noiseMilliseconds: noise)
    }
}

/// What all clients saw.
struct ClusterLoadResult {
    var exchanges: [Exchange]
    var limit: Int
    /// How late a sleeping thread woke up, at worst: what the machine adds to any answer.
    var noiseMilliseconds: Double

    /// The requests of each user.
    var byUser: [Int: [Exchange]] { Dictionary(grouping: exchanges, by: \.user) }

    /// Denials of users who cannot have used up their limit: not even all that was let through before the answer to
    /// the denied one makes it.
    var deniedWrongly: Int {
        byUser.values.reduce(0) { sum, exchanges in
            sum
                + exchanges.count { denied in
                    denied.status == 429
                        && exchanges.count { $0.status == 200 && $0.sentAt < denied.answeredAt } < limit
                }
        }
    }

    /// Admissions above the limit, of those that Redis decided outside of some spans.
    func admittedAbove(outside spans: [ClosedRange<Double>] = []) -> Int {
        byUser.values.reduce(0) { sum, exchanges in
            let counted = exchanges.count { exchange in
                exchange.isAdmitted && !spans.contains { $0.contains(exchange.answeredAt) }
            }
            return sum + max(0, counted - limit)
        }
    }

    var longestOwnMilliseconds: Double { exchanges.map { $0.answeredAt - $0.sentAt - $0.processorWait }.max() ?? 0 }

    /// Writes the row of the fault matrix; of the log lines those count that name Redis or the cluster.
    func record(_ fault: Fault, _ daemons: [Daemon], overLimit: Int = 0, exactAfter: Double = 0) throws {
        let lines = daemons.map { $0.logLines(containing: "edis").count + $0.logLines(containing: "cluster").count }
        try FaultRecord(
            fault, checks: exchanges.count, degraded: exchanges.count { $0.isDegraded },
            slowestMilliseconds: longestOwnMilliseconds, noiseMilliseconds: noiseMilliseconds,
            deniedWrongly: deniedWrongly, overLimit: overLimit, exactAfterMilliseconds: exactAfter,
            logLines: lines.reduce(0, +)
        ).record()
    }
}

/// Users by number, the same ones again for the same seed.
struct NumberedUsers: Sendable {
    let seed: UInt64

    func user(_ number: Int) -> String {
        var random = SeededGenerator(seed: seed &+ UInt64(number))
        func digits(_ count: Int) -> String {
            let text = String(random.next(), radix: 16)
            return String(repeating: "0", count: max(0, count - text.count)) + text.suffix(count)
        }
        return [8, 4, 4, 4, 12].map { digits($0) }.joined(separator: "-")
    }

    /// Rounds of `width` users at a time, each asked for `times` times.
    func rounds(width: Int, times: Int) -> @Sendable (Int) -> (index: Int, user: String) {
        { number in
            let index = number / (width * times) * width + number % width
            return (index, user(index))
        }
    }
}

/// The slot of a user's key.
func slot(of user: String) -> Int { HashSlot(key: Array("llm-rate:\(user)".utf8)).number }

/// New users whose keys are in some slots.
func newUsers(_ count: Int, in slots: ClosedRange<Int>) -> [String] {
    var users: [String] = []
    while users.count < count {
        let user = newUser()
        if slots.contains(slot(of: user)) { users.append(user) }
    }
    return users
}

/// Asks until Redis decides on new users of some slots, and says after how many milliseconds it did.
func millisecondsUntilExact(_ daemon: Daemon, in slots: ClosedRange<Int>, since start: Double) throws -> Double {
    let client = try daemon.connect()
    let users = newUsers(1, in: slots)
    guard try eventually(within: 60, { try !client.check(users[0]).isDegraded }) else {
        throw TestFailure("the daemon does not become exact: \(daemon.process.errors)")
    }
    return monotonicMilliseconds() - start
}
