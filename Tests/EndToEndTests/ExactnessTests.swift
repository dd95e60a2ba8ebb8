import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Exactly the limit")
    struct ExactnessTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        /// What one client saw of one check, on Redis's own clock, which is the system's.
        private struct Seen: Sendable {
            var sentAt: Int
            var answeredAt: Int
            var isAdmitted: Bool
            var remaining: Int
            var isDegraded: Bool
        }

        private func ask(_ connection: HTTPConnection, _ user: String) throws -> Seen {
            let start = systemMicroseconds()
            let response = try connection.check(user)
            return Seen(
                sentAt: start, answeredAt: systemMicroseconds(), isAdmitted: response.status == 200,
                remaining: try response.number("remaining") ?? -1, isDegraded: response.isDegraded
            )
        }

        /// Reads the window in Redis again and again, and puts together every entry it ever held.
        private func record(_ user: String, until flag: Flag) -> Background<[Int: Int]> {
            let redis = redis
            return Background {
                let connection = try redis.connect()
                var costs: [Int: Int] = [:]
                while true {
                    let isLast = flag.isSet
                    let reply = try connection.command("GET", "llm-rate:\(user)")
                    if case .bulk(let bytes) = reply {
                        var now: [Int: Int] = [:]
                        for entry in try StoredWindow(bytes).entries { now[entry.time, default: 0] += entry.cost }
                        // Checks of one batch have one time; the window is read between batches, never within one.
                        costs.merge(now) { max($0, $1) }
                    }
                    if isLast { return costs }
                    pause(milliseconds: 40)
                }
            }
        }

        @Test("Four daemons, 64 clients, one user: exactly the limit is admitted in every window, over several windows")
        func fourDaemons() throws {
            let limit = 100
            let window = 1_000_000
            // The denials of one second are remembered; the next one is due in less. Both ways are under test.
            let daemons = try (0..<4).map { _ in
                try Daemon(redis: redis.url, ["REQUESTS": "\(limit)", "WINDOW": "1"])
            }
            let user = newUser()
            let (flag, recorded, admissions) = (Flag(), Flag(), Tally())
            let record = record(user, until: recorded)
            let clients = (0..<64).map { index in
                Background {
                    let connection = try daemons[index % 4].connect()
                    var seen: [Seen] = []
                    while !flag.isSet {
                        seen.append(try ask(connection, user))
                        if seen.last?.isAdmitted == true { admissions.add() }
                    }
                    return seen
                }
            }
            // Some windows, however long the machine takes for them.
            #expect(eventually(within: 120) { admissions.value >= 6 * limit })
            flag.set()
            let seen = try clients.flatMap { try $0.value() }
            // Behind the last answer: what was asked for before the flag may be admitted after it.
            recorded.set()
            let kept = try record.value()
            let admitted = seen.filter(\.isAdmitted)

            // What the clients saw. An admission happened between its request and its answer, so those that were
            // asked for and answered within less than a window certainly fell into one.
            #expect(seen.allSatisfy { !$0.isDegraded })
            let starts = admitted.map(\.sentAt).sorted()
            let byEnd = admitted.sorted { $0.answeredAt < $1.answeredAt }
            for start in starts.striding(by: 7) {
                let certain = byEnd.prefix { $0.answeredAt < start + window }.count { $0.sentAt >= start }
                #expect(certain <= limit)
            }
            // Never under: whoever was denied at a cost of 1 was told that nothing was left.
            #expect(seen.allSatisfy { $0.isAdmitted || $0.remaining == 0 })

            // What Redis recorded, on the one clock that counts: no span of a window's length holds more.
            let times = kept.sorted { $0.key < $1.key }.flatMap { Array(repeating: $0.key, count: $0.value) }
            #expect(times.count == admitted.count, "nothing was lost and nothing was counted twice")
            let spans = zip(times, times.dropFirst(limit)).map { $1 - $0 }
            #expect(spans.allSatisfy { $0 >= window })
            // And with 64 clients asking, a place is taken again soon after it is free. How soon is the machine's affair.
            print(
                "four daemons: \(seen.count) checks, \(admitted.count) admitted at 100 a second; a full window took "
                    + "\((spans.min() ?? 0) / 1000) to \((spans.max() ?? 0) / 1000) ms"
            )
            #expect(spans.count >= 5 * limit)
        }

        @Test("Rounds of 64 clients on an empty window: each round admits exactly the limit", arguments: [1, 20, 300])
        func rounds(limit: Int) throws {
            let daemons = try (0..<4).map { _ in try Daemon(redis: redis.url, ["REQUESTS": "\(limit)"]) }
            for _ in 0..<3 {
                let user = newUser()
                let admitted = try concurrently(64) { index in
                    let connection = try daemons[index % 4].connect()
                    var admitted = 0
                    while try connection.check(user).isAllowed { admitted += 1 }
                    return admitted
                }
                #expect(admitted.reduce(0, +) == limit)
                #expect(try daemons[0].connect().request("GET", "/v1/users/\(user)").number("used") == limit)
            }
        }

        @Test("The same with costs and with two event loops each: the admitted cost is never above the limit")
        func costs() throws {
            let daemons = try (0..<2).map { _ in
                try Daemon(redis: redis.url, ["REQUESTS": "1000", "THREADS": "2"])
            }
            let user = newUser()
            let admitted = try concurrently(16) { index in
                let connection = try daemons[index % 2].connect()
                var admitted = 0
                for step in 0..<60 {
                    let cost = 1 + (step * 7 + index) % 13
                    if try connection.check(user, cost: cost).isAllowed { admitted += cost }
                }
                while try connection.check(user, cost: 1).isAllowed { admitted += 1 }
                return admitted
            }
            #expect(admitted.reduce(0, +) == 1_000)
        }
    }
}

extension Array {
    fileprivate func striding(by step: Int) -> [Element] {
        stride(from: 0, to: count, by: step).map { self[$0] }
    }
}
