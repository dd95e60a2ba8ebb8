import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// What others notice while somebody who may connect behaves badly.
    ///
    /// Asserted is what holds however busy the machine is: while the attack goes on, everybody else gets every answer,
    /// each of them exact, and memory stays bounded. Nobody waits for an attacker to end, because none ends before the
    /// last of those answers is there. How long they took is printed for the table in the docs.
    @Suite("Under attack")
    struct AttackTests {
        let redis: RedisServer
        let daemon: Daemon
        let bystander: Daemon

        init() throws {
            redis = try RedisServer()
            daemon = try Daemon(redis: redis.url, ["MAX_CONNECTIONS": "12000", "REQUEST_TIMEOUT_MS": "1000"])
            bystander = try Daemon(redis: redis.url)
        }

        @Test(
            "Other clients get every answer while it goes on, each exact, and memory stays within its bound",
            arguments: Attack.all)
        func unharmed(attack: Attack) throws {
            try #require(raiseDescriptorLimit() >= attack.connections + 200, "too few files may be open")
            // Warm, and with what everybody needs in place.
            _ = try Load(on: daemon, clients: 4).end(after: 300)
            let calm = try Load(on: daemon, clients: 4, reference: bystander, pauseMilliseconds: 4).end(after: 800)
            let before = daemon.residentKilobytes
            let flag = Flag()
            let attackers = try attack.begin(daemon, flag)
            let load = Load(on: daemon, clients: 4, reference: bystander, pauseMilliseconds: 4)
            let victims = Swift.Result { try usersServed(by: 4) }
            let isAnswered = load.hasAnswers(more: 100)
            let growth = daemon.residentKilobytes - before
            let isUnderWay = attackers.allSatisfy { !$0.hasEnded }
            let result = Swift.Result { try load.end() }
            flag.set()
            let requests = try attackers.reduce(0) { try $0 + $1.value() }

            let during = try result.get()
            print(
                "| \(attack.name) | \(calm.percentile99) | \(during.percentile99) | \(during.ownPercentile99) | "
                    + "\(growth) | attackers' requests: \(requests), noise \(during.noiseMilliseconds.rounded()) ms"
            )
            #expect(requests > 0 && isUnderWay, "there was no attack by the time of the last answer")
            for statuses in try victims.get() {
                #expect(statuses == Array(repeating: 200, count: 20) + Array(repeating: 429, count: 5))
            }
            #expect(isAnswered && during.checks.allSatisfy { $0.status == 200 && !$0.isDegraded })
            // A sanitizer keeps what is freed, to see whether it is used again.
            #expect(growth < attack.kilobytes || Sanitizer.isOn)
            // All is as before once they have gone.
            #expect(try eventually(within: 60) { try daemon.metric("llm_rate_limit_connections") ?? 99 < 8 })
            #expect(try daemon.connect().check(newUser()).number("remaining") == 19)
        }

        /// Has so many clients ask for two users each, past their limit of 20; what each user's checks were answered.
        private func usersServed(by clients: Int) throws -> [[Int]] {
            try concurrently(clients) { _ in
                let connection = try daemon.connect()
                return try (0..<2).map { _ in
                    let user = newUser()
                    return try (0..<25).map { index in
                        let response = try connection.check(user)
                        let left = try response.number("remaining")
                        guard !response.isDegraded, left == max(0, 19 - index) else {
                            throw TestFailure("check \(index) of a user: \(response.text)")
                        }
                        return response.status
                    }
                }
            }.flatMap { $0 }
        }
    }
}

/// One way to behave badly, and what it may cost in memory.
struct Attack: Sendable, CustomTestStringConvertible {
    var name: String
    /// How many connections it holds at a time.
    var connections: Int
    /// What the daemon may grow by.
    var kilobytes: Int
    /// Uses one of its connections until it is told to stop; gives how much it has sent or held.
    var use: @Sendable (Daemon, Flag, Int) throws -> Int
    var threads: Int

    var testDescription: String { name }

    func begin(_ daemon: Daemon, _ flag: Flag) throws -> [Background<Int>] {
        let ready = Tally()
        let share = connections / threads
        let attackers = (0..<threads).map { _ in
            Background {
                ready.add()
                return try use(daemon, flag, share)
            }
        }
        eventually(within: 60) { ready.value == threads }
        // Connections by the thousand take a while to come.
        if connections > 1_000 {
            eventually(within: 60) {
                (try? daemon.metric("llm_rate_limit_connections") ?? 0) ?? 0 >= Double(connections)
            }
        }
        return attackers
    }

    static let all = [
        Attack(
            name: "10,000 idle connections", connections: 10_000, kilobytes: 80_000,
            use: { daemon, flag, count in
                let held = try (0..<count).map { _ in try StreamSocket(.unix(daemon.socketPath)) }
                while !flag.isSet { pause(milliseconds: 5) }
                return held.count
            }, threads: 2),
        Attack(
            name: "500 senders of one byte at a time", connections: 500, kilobytes: 20_000,
            use: { daemon, flag, count in
                let request = Array(HTTPConnection.checkText(newUser()).utf8)
                var senders: [StreamSocket] = []
                var sent = 0
                while !flag.isSet {
                    while senders.count < count { senders.append(try StreamSocket(.unix(daemon.socketPath))) }
                    for byte in request.dropLast() {
                        if flag.isSet { break }
                        // Those that were told 408 come again.
                        senders = try senders.filter { try $0.send([byte]) }
                        sent += senders.count
                        pause(milliseconds: 20)
                    }
                    senders = []
                }
                return sent
            }, threads: 2),
        Attack(
            name: "headers without end, 8 connections", connections: 8, kilobytes: 20_000,
            use: { daemon, flag, _ in
                let header = Array("X-Header: \(String(repeating: "x", count: 1_000))\r\n".utf8)
                return try again(daemon, flag, "GET /livez HTTP/1.1\r\nHost: a\r\n", header)
            }, threads: 8),
        Attack(
            name: "bodies without end, 8 connections", connections: 8, kilobytes: 20_000,
            use: { daemon, flag, _ in
                let head = "POST /v1/check HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                return try again(daemon, flag, head, Array("400\r\n\(String(repeating: " ", count: 1_024))\r\n".utf8))
            }, threads: 8),
        Attack(
            name: "256 checks of one user at a time on each of 8 connections", connections: 8, kilobytes: 20_000,
            use: { daemon, flag, _ in
                let user = newUser()
                return try flood(daemon, flag) { HTTPConnection.checkText(user) }
            }, threads: 8),
        Attack(
            name: "256 checks of many users at a time on each of 64 connections", connections: 64, kilobytes: 40_000,
            use: { daemon, flag, _ in try flood(daemon, flag) { HTTPConnection.checkText(newUser()) } },
            threads: 64),
        Attack(
            name: "pages without end, answers never read, 16 connections", connections: 16, kilobytes: 40_000,
            use: { daemon, flag, _ in try neverRead(daemon, flag) }, threads: 16),
        Attack(
            name: "connections that come and go, 4 at a time", connections: 4, kilobytes: 20_000,
            use: { daemon, flag, _ in
                var count = 0
                while !flag.isSet {
                    _ = try StreamSocket(.unix(daemon.socketPath))
                    count += 1
                }
                return count
            }, threads: 4),
    ]

    /// Sends `start` and then `part` without end, and comes again where the daemon has closed.
    private static func again(_ daemon: Daemon, _ flag: Flag, _ start: String, _ part: [UInt8]) throws -> Int {
        var count = 0
        while !flag.isSet {
            let connection = try StreamSocket(.unix(daemon.socketPath))
            guard try connection.send(start.utf8) else { continue }
            while !flag.isSet, try connection.send(part) { count += 1 }
        }
        return count
    }

    /// Keeps 256 checks unanswered, as many as the daemon takes of one connection.
    private static func flood(_ daemon: Daemon, _ flag: Flag, _ check: () -> String) throws -> Int {
        let connection = try StreamSocket(.unix(daemon.socketPath))
        let part = Array((0..<128).map { _ in check() }.joined().utf8)
        var count = 0
        var unanswered = 0
        while !flag.isSet {
            try connection.send(part)
            count += 128
            unanswered += 128
            while unanswered > 128, let bytes = try connection.receive() {
                guard !bytes.isEmpty else { throw TestFailure("the daemon has closed") }
                // An answer has one object.
                unanswered -= bytes.count { $0 == UInt8(ascii: "}") }
            }
        }
        return count
    }

    /// Asks for pages until nothing more is taken, and reads no answer.
    private static func neverRead(_ daemon: Daemon, _ flag: Flag) throws -> Int {
        let connection = try StreamSocket(.unix(daemon.socketPath), timeoutSeconds: 0.2)
        let part = Array(String(repeating: HTTPConnection.text("GET", "/metrics"), count: 100).utf8)
        var count = 0
        while !flag.isSet, (try? connection.send(part)) == true { count += 100 }
        while !flag.isSet { pause(milliseconds: 5) }
        return count + 1
    }
}

extension Load {
    fileprivate func end(after milliseconds: Int) throws -> Result {
        pause(milliseconds: milliseconds)
        return try end()
    }
}

extension Load.Result {
    fileprivate var percentile99: Double { Self.percentile99(checks.map(\.milliseconds)) }
    fileprivate var ownPercentile99: Double { Self.percentile99(checks.map { $0.milliseconds - $0.processorWait }) }

    private static func percentile99(_ times: [Double]) -> Double {
        guard !times.isEmpty else { return .infinity }
        return (times.sorted()[times.count * 99 / 100] * 100).rounded() / 100
    }
}

/// Lets this process open as many files as it may, and says how many.
private func raiseDescriptorLimit() -> Int {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    getrlimit(resource, &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(resource, &limit)
    getrlimit(resource, &limit)
    return Int(clamping: limit.rlim_cur)
}
