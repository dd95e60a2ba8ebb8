import HistoryChecker
import TestSupport

/// A gateway: checks, reserves, renews, settles, releases and reports usage for the members of a team. What it holds it
/// sometimes leaves to lapse, as one that dies does; what it has settled it sometimes settles again.
struct CallClient: LoadingClient {
    let testbed: Testbed
    let group: CallGroup
    let place: DaemonPlace
    let statistics: Statistics
    let seed: UInt64

    /// A call to make.
    private struct Intent {
        var action: CallOperation.Action
        var log: CallLog
        var member: Int
        var tokens = 0
        var id: String?
    }

    func run(until flag: Flag) throws {
        var random = SeededGenerator(seed: seed)
        var connection: HTTPConnection?
        var hangUps = testbed.hangUps.value
        var open: [Intent] = []
        var ended: [Intent] = []
        while !flag.isSet {
            let isResting = Int.random(in: 0..<300, using: &random) == 0
            pause(milliseconds: isResting ? 300 : Int.random(in: 10...60, using: &random))
            if connection == nil { connection = try? place.connect() }
            guard let client = connection else {
                pause(milliseconds: 20)
                continue
            }
            let hangsUp = testbed.hangUps.value != hangUps
            hangUps = testbed.hangUps.value
            let teams = group.teams
            open.removeAll { intent in !teams.contains { $0 === intent.log } }
            ended.removeAll { intent in !teams.contains { $0 === intent.log } }
            let intent = next(&random, teams, &open, &ended)
            let (outcome, lease) = try make(intent, client, hangsUp: hangsUp)
            if outcome == nil { connection = nil }
            guard let lease else { continue }
            var held = intent
            held.id = lease
            open.append(held)
        }
    }

    /// What comes next. What ends a lease is kept for a while: it may be said again.
    private func next(
        _ random: inout SeededGenerator, _ teams: [CallLog], _ open: inout [Intent], _ ended: inout [Intent]
    ) -> Intent {
        let draw = Int.random(in: 0..<100, using: &random)
        if draw < 5 || teams.isEmpty {
            return Intent(action: .look, log: teams[draw % teams.count], member: draw % 2)
        }
        if draw < 12, let again = ended.randomElement(using: &random) { return again }
        if draw < 55, let place = open.indices.randomElement(using: &random) {
            var intent = open[place]
            let what = Int.random(in: 0..<10, using: &random)
            intent.tokens = Int.random(in: 0...9, using: &random)
            intent.action =
                what < 2 ? .renew(microseconds: 1_000_000 * (1 + what)) : (what < 3 ? .release : .settle)
            if what >= 2 {
                open.remove(at: place)
                ended.append(intent)
                if ended.count > 6 { ended.removeFirst() }
            }
            // Not sent: the lease lapses, unless it is settled late.
            if what >= 8 { return Intent(action: .look, log: intent.log, member: intent.member) }
            return intent
        }
        var intent = Intent(
            action: .check, log: teams[Int.random(in: 0..<teams.count, using: &random)],
            member: Int.random(in: 0...1, using: &random), tokens: Int.random(in: 0...9, using: &random))
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<8:
            intent.action = .usage
            intent.id = newUser()
            ended.append(intent)
        case 8..<30: break
        default: intent.action = .reserve(microseconds: 1_000_000 * Int.random(in: 1...2, using: &random))
        }
        return intent
    }

    /// Makes a call and writes down what it saw; nil where no answer came, and the lease where one was given.
    private func make(
        _ intent: Intent, _ connection: HTTPConnection, hangsUp: Bool
    ) throws -> (outcome: CallOperation.Outcome?, lease: String?) {
        let log = intent.log
        let start = systemMicroseconds()
        var operation = CallOperation(
            intent.action, id: intent.id, terms: terms(intent), startMicroseconds: start, endMicroseconds: start,
            outcome: .unknown)
        log.began()
        defer {
            operation.endMicroseconds = systemMicroseconds()
            log.ended(operation)
        }
        let (method, path, body) = request(intent)
        if hangsUp {
            _ = try? connection.send(HTTPConnection.text(method, path, body: body))
            return (nil, nil)
        }
        guard let response = try? connection.request(method, path, body: body) else { return (nil, nil) }
        operation.endMicroseconds = systemMicroseconds()
        statistics.answered(from: start, to: operation.endMicroseconds)
        guard response.status < 500 && response.status != 400 || response.status == 503 else {
            throw TestFailure("\(path) was answered \(response.status): \(response.text)")
        }
        operation.outcome = Self.outcome(of: response, intent.action)
        Self.addStandings(of: response, to: &operation, member: intent.member)
        guard operation.outcome == .done, case .reserve = intent.action else { return (operation.outcome, nil) }
        operation.id = try response.json["lease"] as? String
        return (operation.outcome, operation.id)
    }

    private func request(_ intent: Intent) -> (method: String, path: String, body: String?) {
        let user = intent.log.members[intent.member]
        var members = [#""user":"\#(user)""#]
        let id = intent.id ?? ""
        let asked = [#""groups":["\#(intent.log.team)"]"#, #""output_tokens":\#(intent.tokens)"#]
        switch intent.action {
        case .check: members += asked
        case .reserve(let life): members += asked + [#""ttl":\#(life / 1_000_000)"#]
        case .usage: members += asked + [#""request_id":"\#(id)""#]
        case .settle: members += [#""lease":"\#(id)""#, asked[1]]
        case .renew(let life): members += [#""lease":"\#(id)""#, #""ttl":\#(life / 1_000_000)"#]
        case .release: members.append(#""lease":"\#(id)""#)
        case .look, .reset, .flush: return ("GET", "/v1/users/\(user)/usage", nil)
        }
        return ("POST", "/v1/\(Self.route(intent.action))?verbose=1", "{\(members.joined(separator: ","))}")
    }

    private static func route(_ action: CallOperation.Action) -> String {
        switch action {
        case .reserve: "reserve"
        case .renew: "renew"
        case .settle: "settle"
        case .release: "release"
        case .usage: "usage"
        case .check, .look, .reset, .flush: "check"
        }
    }

    /// The parts of a call, as the limits' units have it.
    private func terms(_ intent: Intent) -> [CallOperation.Term] {
        func term(_ limit: String, _ cost: Int, _ need: Int) -> CallOperation.Term? {
            CallLog.window(limit, of: intent.member).map { CallOperation.Term(window: $0, cost: cost, need: need) }
        }
        let tokens = intent.tokens
        switch intent.action {
        case .look: return CallLog.ownLimits.compactMap { term($0, 0, 0) }
        case .renew, .release, .reset, .flush: return []
        case .settle: return ["requests"].compactMap { term($0, 1, 1) } + charged(term, tokens, tokens)
        case .usage: return charged(term, tokens, tokens)
        case .check: return ["requests"].compactMap { term($0, 1, 1) } + charged(term, tokens, max(1, tokens))
        case .reserve:
            return ["requests", "calls", "team-calls"].compactMap { term($0, 1, 1) }
                + charged(term, tokens, max(1, tokens))
        }
    }

    private func charged(
        _ term: (String, Int, Int) -> CallOperation.Term?, _ tokens: Int, _ need: Int
    ) -> [CallOperation.Term] {
        ["tokens", "team-tokens"].compactMap { term($0, tokens, need) }
    }

    /// What an answer says. Whatever Redis did not decide may all the same have taken place.
    private static func outcome(of response: HTTPResponse, _ action: CallOperation.Action) -> CallOperation.Outcome {
        guard !response.isDegraded, let body = try? response.json else { return .unknown }
        switch action {
        case .check, .reserve:
            if response.status == 200 { return .done }
            return response.status == 429 || body["at_capacity"] as? Bool == true ? .denied : .unknown
        case .settle, .usage:
            guard response.status == 200 else { return .unknown }
            return body["repeated"] as? Bool == true || body["too_late"] as? Bool == true ? .repeated : .done
        case .release:
            if response.status == 404 { return .noLease }
            guard response.status == 200 else { return .unknown }
            return body["released"] as? Bool == true ? .done : .repeated
        case .renew: return response.status == 200 ? .done : (response.status == 404 ? .noLease : .unknown)
        case .look, .reset, .flush: return response.status == 200 ? .done : .unknown
        }
    }

    private static func addStandings(of response: HTTPResponse, to operation: inout CallOperation, member: Int) {
        guard operation.outcome != .unknown, let body = try? response.json else { return }
        for limit in body["limits"] as? [[String: Any]] ?? [] {
            guard let name = limit["name"] as? String, let window = CallLog.window(name, of: member),
                let place = operation.terms.firstIndex(where: { $0.window == window }),
                let quota = limit["limit"] as? Int, let used = limit["used"] as? Int
            else { continue }
            let isDenied = limit["denied"] as? Bool ?? false
            operation.terms[place].standing = CallOperation.Standing(quota: quota, used: used, isDenied: isDenied)
        }
    }
}
