import HistoryChecker
import TestSupport

/// A gateway: checks, reserves, renews, settles, releases and reports usage for the members of a team, and for one who is
/// in none. What it holds it sometimes leaves to lapse, as one that dies does; what it has settled it sometimes settles
/// again.
struct CallClient: LoadingClient {
    let testbed: Testbed
    let group: CallGroup
    let place: DaemonPlace
    let statistics: Statistics
    let seed: UInt64

    /// A call to make.
    private struct Intent {
        var action: CallOperation.Action
        var team: Team
        var member: Int
        /// The model that it names, with the history of all who do.
        var model: (number: Int, all: SubjectLog)?
        /// The values of its labels that it says; a lease keeps those of its reservation.
        var session: String?
        var tenant: SubjectLog?
        var tokens = 0
        var id: String?

        var isInTeam: Bool { member < Team.members }
        var user: SubjectLog { team.users[member] }

        /// Whose limits it falls under.
        var subjects: [SubjectLog] {
            if case .look = action { return [user] }
            // Usage is no request, and a tenant's limit is of those.
            let tenant = action == .usage ? nil : tenant
            return [user] + (isInTeam ? [team.group] : []) + [model?.all, tenant].compactMap(\.self)
        }
    }

    /// What a client holds, and what it has ended lately.
    private struct Leases {
        var open: [Intent] = []
        var ended: [Intent] = []

        mutating func keep(_ isCurrent: (Intent) -> Bool) {
            open.removeAll { !isCurrent($0) }
            ended.removeAll { !isCurrent($0) }
        }
    }

    func run(until flag: Flag) throws {
        var random = SeededGenerator(seed: seed)
        var connection: HTTPConnection?
        var hangUps = testbed.hangUps.value
        var leases = Leases()
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
            let now = group.now
            leases.keep { intent in
                now.teams.contains { $0 === intent.team } && intent.model.map { $0.all === now.all } != false
                    && intent.tenant.map { tenant in now.tenants.contains { $0 === tenant } } != false
            }
            let intent = next(&random, now, &leases)
            let (outcome, lease) = try make(intent, client, hangsUp: hangsUp)
            if outcome == nil { connection = nil }
            guard let lease else { continue }
            var held = intent
            held.id = lease
            leases.open.append(held)
        }
    }

    /// What comes next. What ends a lease is kept for a while: it may be said again.
    private func next(
        _ random: inout SeededGenerator, _ now: CallGroup.Current, _ leases: inout Leases
    ) -> Intent {
        let draw = Int.random(in: 0..<100, using: &random)
        if draw < 5 {
            return Intent(
                action: .look, team: now.teams[draw % now.teams.count], member: draw % (Team.members + 1),
                session: CallLimits.sessions.randomElement(using: &random))
        }
        if draw < 12, let again = leases.ended.randomElement(using: &random) { return again }
        if draw < 55, let place = leases.open.indices.randomElement(using: &random) {
            var intent = leases.open[place]
            let what = Int.random(in: 0..<10, using: &random)
            intent.tokens = Int.random(in: 0...9, using: &random)
            intent.action =
                what < 2 ? .renew(microseconds: 1_000_000 * (1 + what)) : (what < 3 ? .release : .settle)
            if what >= 2 {
                leases.open.remove(at: place)
                leases.ended.append(intent)
                if leases.ended.count > 6 { leases.ended.removeFirst() }
            }
            // Not sent: the lease lapses, unless it is settled late.
            if what >= 8 {
                return Intent(action: .look, team: intent.team, member: intent.member, session: intent.session)
            }
            return intent
        }
        return nextAsking(&random, now, &leases)
    }

    private func nextAsking(
        _ random: inout SeededGenerator, _ now: CallGroup.Current, _ leases: inout Leases
    ) -> Intent {
        var intent = Intent(
            action: .check, team: now.teams[Int.random(in: 0..<now.teams.count, using: &random)],
            member: Int.random(in: 0...Team.members, using: &random), tokens: Int.random(in: 0...9, using: &random))
        if intent.isInTeam, Int.random(in: 0..<2, using: &random) == 0 {
            intent.model = (now.model, now.all)
            // What costs nothing passes a limit of spend though it is used up.
            intent.tokens = max(1, intent.tokens)
        }
        // Each session as often as none; in a cluster a call that names a tenant is decided in several slots.
        if Int.random(in: 0..<3, using: &random) > 0 {
            intent.session = CallLimits.sessions.randomElement(using: &random)
        }
        if Int.random(in: 0..<3, using: &random) == 0 { intent.tenant = now.tenants.randomElement(using: &random) }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<8:
            intent.action = .usage
            intent.id = newUser()
            leases.ended.append(intent)
        case 8..<30: break
        default: intent.action = .reserve(microseconds: 1_000_000 * Int.random(in: 1...2, using: &random))
        }
        return intent
    }

    /// Makes a call and writes down what it saw; nil where no answer came, and the lease where one was given.
    private func make(
        _ intent: Intent, _ connection: HTTPConnection, hangsUp: Bool
    ) throws -> (outcome: CallOperation.Outcome?, lease: String?) {
        let subjects = intent.subjects
        let start = systemMicroseconds()
        var call = CallOperation(
            intent.action, id: intent.id, startMicroseconds: start, endMicroseconds: start, outcome: .unknown)
        var limits: [[String: Any]] = []
        for subject in subjects { subject.began() }
        defer {
            call.endMicroseconds = systemMicroseconds()
            statistics.called(call, deniedBy: Self.deniedBy(limits))
            let parts = CallParts(isSplit: group.splitsCalls && subjects.count > 1, name: newUser())
            for subject in subjects {
                var part = call
                part.terms = Self.terms(intent, subject.kind)
                if call.outcome != .unknown { Self.addStandings(limits, to: &part, subject) }
                subject.ended(parts.parts(of: part))
            }
        }
        let (method, path, body) = request(intent)
        if hangsUp {
            _ = try? connection.send(HTTPConnection.text(method, path, body: body))
            return (nil, nil)
        }
        guard let response = try? connection.request(method, path, body: body) else { return (nil, nil) }
        statistics.answered(from: start, to: systemMicroseconds())
        guard response.status < 500 && response.status != 400 || response.status == 503 else {
            throw TestFailure("\(path) was answered \(response.status): \(response.text)")
        }
        call.outcome = Self.outcome(of: response, intent.action)
        limits = (try? response.json["limits"]) as? [[String: Any]] ?? []
        if call.outcome != .unknown { try Self.expectNoOther(limits, intent) }
        guard call.outcome == .done, case .reserve = intent.action else { return (call.outcome, nil) }
        call.id = try response.json["lease"] as? String
        return (call.outcome, call.id)
    }

    private func request(_ intent: Intent) -> (method: String, path: String, body: String?) {
        var members = [#""user":"\#(intent.user.name)""#]
        let id = intent.id ?? ""
        let tokens = #""output_tokens":\#(intent.tokens)"#
        var asked = [tokens]
        if intent.isInTeam { asked.append(#""groups":["\#(intent.team.group.name)"]"#) }
        if let model = intent.model { asked.append(#""model":"\#(CallLimits.model(model.number))""#) }
        let labels = [("session", intent.session), ("tenant", intent.tenant?.name)].compactMap { label, value in
            value.map { #""\#(label)":"\#($0)""# }
        }
        if !labels.isEmpty { asked.append(#""labels":{\#(labels.joined(separator: ","))}"#) }
        switch intent.action {
        case .check: members += asked
        case .reserve(let life): members += asked + [#""ttl":\#(life / 1_000_000)"#]
        case .usage: members += asked + [#""request_id":"\#(id)""#]
        case .settle: members += [#""lease":"\#(id)""#, tokens]
        case .renew(let life): members += [#""lease":"\#(id)""#, #""ttl":\#(life / 1_000_000)"#]
        case .release: members.append(#""lease":"\#(id)""#)
        case .look, .reset, .flush:
            let query = intent.session.map { "?label.session=\($0)" } ?? ""
            return ("GET", "/v1/users/\(intent.user.name)/usage\(query)", nil)
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

    /// The windows of a kind in which a call can have a part, each with its limit: where one is of a value, those calls
    /// that say it.
    private static func windows(_ intent: Intent, _ kind: CallLimits.Kind) -> [(window: Int, limit: String)] {
        let values = [
            intent.session.map(CallLimits.session), intent.model.map { "model=\(CallLimits.model($0.number))" },
        ]
        return CallLimits.names(kind).enumerated().compactMap { window, name in
            let words = name.split(separator: " ").map(String.init)
            return words.count == 1 || values.contains(words[1]) ? (window, words[0]) : nil
        }
    }

    /// The parts of a call in a subject's windows, as the limits' units have it.
    private static func terms(_ intent: Intent, _ kind: CallLimits.Kind) -> [CallOperation.Term] {
        let asks: Bool
        let windows = windows(intent, kind)
        switch intent.action {
        case .look: return windows.map { CallOperation.Term(window: $0.window, cost: 0) }
        case .renew, .release, .reset, .flush: return []
        case .settle, .usage: asks = false
        case .check, .reserve: asks = true
        }
        let tokens = intent.tokens
        return windows.compactMap { window, limit in
            switch limit {
            case "requests", "all-requests", "tenant":
                return intent.action == .usage ? nil : CallOperation.Term(window: window, cost: 1)
            case "calls", "team-calls":
                guard case .reserve = intent.action else { return nil }
                return CallOperation.Term(window: window, cost: 1)
            case "tokens", "team-tokens", "session", "team-model":
                return CallOperation.Term(window: window, cost: tokens, need: asks ? max(1, tokens) : tokens)
            default:
                guard intent.model != nil else { return nil }
                return CallOperation.Term(window: window, cost: CallLimits.tokenPrice * tokens)
            }
        }
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

    private static func deniedBy(_ limits: [[String: Any]]) -> [String] {
        limits.compactMap { limit in
            guard limit["denied"] as? Bool == true, let name = limit["name"] as? String else { return nil }
            return String(name.prefix { !$0.isNumber })
        }
    }

    /// Where a limit that an answer shows is among somebody's windows.
    private static func window(of limit: [String: Any], _ subject: SubjectLog) -> Int? {
        guard let name = limit["name"] as? String else { return nil }
        return CallLimits.window(named: name, values: limit["values"] as? String, of: subject.name, subject.kind)
    }

    /// Fails where an answer shows the window of a value that the call does not say.
    private static func expectNoOther(_ limits: [[String: Any]], _ intent: Intent) throws {
        for limit in limits where limit["values"] is String {
            let isOwn = intent.subjects.contains { subject in
                let window = window(of: limit, subject)
                return windows(intent, subject.kind).contains { $0.window == window }
            }
            guard isOwn else { throw TestFailure("a call (\(intent.action)) was told of another's window: \(limit)") }
        }
    }

    private static func addStandings(
        _ limits: [[String: Any]], to operation: inout CallOperation, _ subject: SubjectLog
    ) {
        for limit in limits {
            guard let window = window(of: limit, subject),
                let place = operation.terms.firstIndex(where: { $0.window == window }),
                let quota = limit["limit"] as? Int, let used = limit["used"] as? Int
            else { continue }
            let isDenied = limit["denied"] as? Bool ?? false
            operation.terms[place].standing = CallOperation.Standing(quota: quota, used: used, isDenied: isDenied)
        }
    }
}
