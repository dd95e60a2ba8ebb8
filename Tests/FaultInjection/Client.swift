import HistoryChecker
import TestSupport

/// One client of a daemon: asks for the users of its group, and writes down what it saw.
struct Client: LoadingClient {
    let testbed: Testbed
    let group: DaemonGroup
    let place: DaemonPlace
    let statistics: Statistics
    let seed: UInt64

    /// Asks until it is told to end. Connections that break are made anew.
    func run(until flag: Flag) throws {
        var random = SeededGenerator(seed: seed)
        var connection: HTTPConnection?
        var hangUps = testbed.hangUps.value
        while !flag.isSet {
            // A client rests now and then for longer than others ask, so that windows also run empty.
            let isResting = Int.random(in: 0..<400, using: &random) == 0
            pause(milliseconds: isResting ? 300 : Int.random(in: 4...40, using: &random))
            if connection == nil { connection = try? place.connect() }
            guard let open = connection else {
                pause(milliseconds: 20)
                continue
            }
            let hangsUp = testbed.hangUps.value != hangUps
            hangUps = testbed.hangUps.value
            let log = group.users[Int.random(in: 0..<DaemonGroup.usersAtATime, using: &random)]
            let looks = Int.random(in: 0..<50, using: &random) == 0
            let cost = looks ? 0 : Int.random(in: 1...group.largestCost, using: &random)
            let isAnswered = ask(open, log, cost: cost, hangsUp: hangsUp && !looks)
            if !isAnswered { connection = nil }
        }
    }

    /// Asks once; false where no answer came and the connection is of no use any more.
    private func ask(_ connection: HTTPConnection, _ log: UserLog, cost: Int, hangsUp: Bool) -> Bool {
        log.began()
        let start = systemMicroseconds()
        var operation = Operation(cost: cost, startMicroseconds: start, endMicroseconds: start, outcome: .unknown)
        var isAnswered = false
        if hangsUp {
            _ = try? connection.send(HTTPConnection.checkText(log.user, cost: cost))
        } else if let response = try? response(connection, log.user, cost: cost) {
            isAnswered = true
            operation.outcome = Self.outcome(of: response, cost: cost)
        }
        operation.endMicroseconds = systemMicroseconds()
        log.ended(operation)
        if isAnswered { statistics.answered(from: start, to: operation.endMicroseconds) }
        return isAnswered
    }

    private func response(_ connection: HTTPConnection, _ user: String, cost: Int) throws -> HTTPResponse {
        if cost == 0 { return try connection.request("GET", "/v1/users/\(user)") }
        return try connection.check(user, cost: cost)
    }

    /// What an answer says. Whatever Redis did not decide may all the same have been charged.
    static func outcome(of response: HTTPResponse, cost: Int) -> Operation.Outcome {
        guard !response.isDegraded, response.status == 200 || response.status == 429,
            let body = try? response.json, let quota = body["limit"] as? Int, let remaining = body["remaining"] as? Int,
            let reset = body["reset_after"] as? Int
        else { return .unknown }
        let answer = Operation.Answer(quota: quota, remaining: remaining, resetAfterSeconds: reset)
        if response.status == 429 { return .denied(answer, retryAfterSeconds: body["retry_after"] as? Int) }
        return cost == 0 ? .looked(answer) : .admitted(answer)
    }
}
