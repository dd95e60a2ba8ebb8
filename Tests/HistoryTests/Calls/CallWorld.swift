import HistoryChecker
import TestSupport

/// The limits of a history: each user has one of requests, one of tokens, one of calls under way, and for each session
/// one of tokens; all users share one of tokens and one of calls under way, and for each tenant one of requests.
///
/// Each value has a window of its own. A call that says no session, or no tenant, is not under that limit.
struct CallWorld: Sendable {
    /// Whose windows are under one key.
    enum Subject: Hashable {
        case user(Int)
        case all
        case session(Int, ofUser: Int)
        case tenant(Int)
    }

    static let users = 2
    static let sessions = 2
    static let tenants = 2
    /// The windows of a user's sessions, and those of the tenants, stand behind the others of that owner.
    private static let firstSession = 3
    private static let firstTenant = 2
    private static let windowsOfUser = firstSession + sessions
    private static let shared = users * windowsOfUser

    var requests = 12
    var tokens = 60
    var calls = 3
    var sharedTokens = 80
    var sharedCalls = 4
    var sessionTokens = 35
    var tenantRequests = 9
    var requestsMilliseconds = 1_000
    var tokensMilliseconds = 1_300
    var sharedMilliseconds = 1_100
    var sessionMilliseconds = 1_200
    var tenantMilliseconds = 1_050

    var contract: CallContract {
        let own: [CallContract.Window] =
            [
                .sliding(microseconds: requestsMilliseconds * 1_000),
                .sliding(microseconds: tokensMilliseconds * 1_000),
                .concurrency,
            ] + Array(repeating: .sliding(microseconds: sessionMilliseconds * 1_000), count: Self.sessions)
        let shared: [CallContract.Window] =
            [.sliding(microseconds: sharedMilliseconds * 1_000), .concurrency]
            + Array(repeating: .sliding(microseconds: tenantMilliseconds * 1_000), count: Self.tenants)
        return CallContract(windows: (0..<Self.users).flatMap { _ in own } + shared)
    }

    var quotas: [Int] {
        let own = [requests, tokens, calls] + Array(repeating: sessionTokens, count: Self.sessions)
        let shared = [sharedTokens, sharedCalls] + Array(repeating: tenantRequests, count: Self.tenants)
        return (0..<Self.users).flatMap { _ in own } + shared
    }

    /// Whose window it is.
    static func subject(of window: Int) -> Subject {
        let (user, place) = (window / windowsOfUser, window % windowsOfUser)
        if user < users { return place < firstSession ? .user(user) : .session(place - firstSession, ofUser: user) }
        return window - shared < firstTenant ? .all : .tenant(window - shared - firstTenant)
    }

    /// Which limit it is of: all values of one have the same.
    static func limit(of window: Int) -> Int {
        switch subject(of: window) {
        case .user: window % windowsOfUser
        case .session: firstSession
        case .all: windowsOfUser + window - shared
        case .tenant: windowsOfUser + firstTenant
        }
    }

    /// The windows of the same limit and owner, one for each value; the window alone where it is of no value.
    static func values(of window: Int) -> [Int] {
        switch subject(of: window) {
        case .user, .all: [window]
        case .session(_, let user): (0..<sessions).map { sessionWindow($0, ofUser: user) }
        case .tenant: (0..<tenants).map { shared + firstTenant + $0 }
        }
    }

    static func sessionWindow(_ session: Int, ofUser user: Int) -> Int { windowsOfUser * user + firstSession + session }

    /// Whose windows a call is about.
    static func subjects(of intent: CallHabits.Intent) -> [Subject] {
        var subjects: [Subject] = [.user(intent.user), .all]
        if let session = intent.session { subjects.append(.session(session, ofUser: intent.user)) }
        if let tenant = intent.tenant { subjects.append(.tenant(tenant)) }
        return subjects
    }

    /// The parts of a user's call. What costs no tokens needs room for one where it asks.
    func terms(_ intent: CallHabits.Intent) -> [CallOperation.Term] {
        let (action, tokens) = (intent.action, intent.tokens)
        let base = Self.windowsOfUser * intent.user
        let shared = Self.shared
        switch action {
        case .check, .reserve, .settle, .usage, .look: break
        case .renew, .release, .reset, .flush: return []
        }
        let looks = action == .look
        let asks = action == .check || isReserve(action)
        let need = asks ? max(1, tokens) : tokens
        var terms = [
            CallOperation.Term(window: base + 1, cost: tokens, need: need),
            CallOperation.Term(window: shared, cost: tokens, need: need),
        ]
        if let session = intent.session {
            let window = Self.sessionWindow(session, ofUser: intent.user)
            terms.append(CallOperation.Term(window: window, cost: tokens, need: need))
        }
        if action != .usage {
            terms.append(CallOperation.Term(window: base, cost: looks ? 0 : 1))
            if let tenant = intent.tenant {
                terms.append(CallOperation.Term(window: shared + Self.firstTenant + tenant, cost: looks ? 0 : 1))
            }
        }
        if isReserve(action) || looks {
            terms.append(CallOperation.Term(window: base + 2, cost: looks ? 0 : 1))
            terms.append(CallOperation.Term(window: shared + 1, cost: looks ? 0 : 1))
        }
        return terms.sorted { $0.window < $1.window }
    }

    private func isReserve(_ action: CallOperation.Action) -> Bool {
        if case .reserve = action { true } else { false }
    }
}

/// What one client does, call after call: what it has reserved it settles, releases, renews or leaves to lapse; some
/// things it says twice.
struct CallHabits {
    /// A call that was decided upon, and its lease, by the client's own count.
    struct Intent {
        var action: CallOperation.Action
        var user: Int
        /// The values that it says; a lease keeps those of its reservation.
        var session: Int?
        var tenant: Int?
        var tokens = 0
        var id: String?
    }

    private var random: SeededGenerator
    private let name: String
    private var count = 0
    private var open: [Intent] = []
    private var ended: [Intent] = []

    init(client: Int, seed: UInt64) {
        random = SeededGenerator(seed: seed &* 1_000 &+ UInt64(client))
        name = "c\(client)-"
    }

    /// The next call. Leases are named before it is known whether they are given.
    mutating func next() -> Intent {
        let user = Int.random(in: 0..<CallWorld.users, using: &random)
        let draw = Int.random(in: 0..<100, using: &random)
        if draw < 5 { return withValues(Intent(action: .look, user: user)) }
        if draw < 12, let again = ended.randomElement(using: &random) { return again }
        if draw < 55, let place = open.indices.randomElement(using: &random) { return goOn(place) }
        let tokens = Int.random(in: 0...9, using: &random)
        let kind = Int.random(in: 0..<100, using: &random)
        if kind < 8 {
            count += 1
            let usage = withValues(Intent(action: .usage, user: user, tokens: tokens / 2, id: "\(name)\(count)"))
            ended.append(usage)
            return usage
        }
        if kind < 35 { return withValues(Intent(action: .check, user: user, tokens: tokens)) }
        count += 1
        let life = Int.random(in: 60...400, using: &random) * 1_000
        let reserve = withValues(
            Intent(action: .reserve(microseconds: life), user: user, tokens: tokens, id: "\(name)\(count)"))
        open.append(reserve)
        return reserve
    }

    /// Saying one of the sessions and one of the tenants, or neither, each of these equally often.
    private mutating func withValues(_ intent: Intent) -> Intent {
        var intent = intent
        let session = Int.random(in: 0...CallWorld.sessions, using: &random)
        let tenant = Int.random(in: 0...CallWorld.tenants, using: &random)
        intent.session = session < CallWorld.sessions ? session : nil
        intent.tenant = tenant < CallWorld.tenants ? tenant : nil
        return intent
    }

    /// Whether a lease that it thinks it has was given; it forgets about it where not.
    mutating func wasDenied(_ id: String?) { open.removeAll { $0.id == id } }

    private mutating func goOn(_ place: Int) -> Intent {
        var intent = open[place]
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<2: intent.action = .renew(microseconds: Int.random(in: 60...400, using: &random) * 1_000)
        case 2..<3: intent.action = .release
        case 3..<5:
            // Left to lapse: a late settlement may still come.
            open.remove(at: place)
            intent.action = .settle
            intent.tokens = Int.random(in: 0...9, using: &random)
            ended.append(intent)
            return Intent(action: .look, user: intent.user, session: intent.session, tenant: intent.tenant)
        default:
            intent.action = .settle
            intent.tokens = Int.random(in: 0...9, using: &random)
        }
        if intent.action == .settle || intent.action == .release {
            open.remove(at: place)
            ended.append(intent)
            if ended.count > 6 { ended.removeFirst() }
        }
        return intent
    }

    mutating func microseconds(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }

    mutating func happens(percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
}
