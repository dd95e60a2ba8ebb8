import HistoryChecker
import TestSupport

/// The limits of a history: each user has one of requests, one of tokens and one of calls under way, and all users
/// share one of tokens and one of calls under way.
struct CallWorld: Sendable {
    static let users = 2
    static let windowsOfUser = 3

    var requests = 12
    var tokens = 60
    var calls = 3
    var sharedTokens = 80
    var sharedCalls = 4
    var requestsMilliseconds = 1_000
    var tokensMilliseconds = 1_300
    var sharedMilliseconds = 1_100

    var contract: CallContract {
        let own: [CallContract.Window] = [
            .sliding(microseconds: requestsMilliseconds * 1_000), .sliding(microseconds: tokensMilliseconds * 1_000),
            .concurrency,
        ]
        let shared: [CallContract.Window] = [.sliding(microseconds: sharedMilliseconds * 1_000), .concurrency]
        return CallContract(windows: (0..<Self.users).flatMap { _ in own } + shared)
    }

    var quotas: [Int] { (0..<Self.users).flatMap { _ in [requests, tokens, calls] } + [sharedTokens, sharedCalls] }

    /// The user whose window it is; nil for one that all share.
    static func user(of window: Int) -> Int? { window < users * windowsOfUser ? window / windowsOfUser : nil }

    /// The parts of a user's call. What costs no tokens needs room for one where it asks.
    func terms(_ action: CallOperation.Action, user: Int, tokens: Int) -> [CallOperation.Term] {
        let base = Self.windowsOfUser * user
        let shared = Self.windowsOfUser * Self.users
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
        if action != .usage { terms.append(CallOperation.Term(window: base, cost: looks ? 0 : 1)) }
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
        if draw < 5 { return Intent(action: .look, user: user) }
        if draw < 12, let again = ended.randomElement(using: &random) { return again }
        if draw < 55, let place = open.indices.randomElement(using: &random) { return goOn(place) }
        let tokens = Int.random(in: 0...9, using: &random)
        let kind = Int.random(in: 0..<100, using: &random)
        if kind < 8 {
            count += 1
            let usage = Intent(action: .usage, user: user, tokens: tokens / 2, id: "\(name)\(count)")
            ended.append(usage)
            return usage
        }
        if kind < 35 { return Intent(action: .check, user: user, tokens: tokens) }
        count += 1
        let life = Int.random(in: 60...400, using: &random) * 1_000
        let reserve = Intent(
            action: .reserve(microseconds: life), user: user, tokens: tokens, id: "\(name)\(count)")
        open.append(reserve)
        return reserve
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
            return Intent(action: .look, user: intent.user)
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
