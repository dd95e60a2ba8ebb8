package import NIOCore
package import RateLimitCore
import RedisClient

/// What a decision needs to know of a caller: the override, and what the caller's groups have.
package struct CallerBudgets: Hashable, Sendable {
    /// One of the caller's groups.
    package struct Group: Hashable, Sendable {
        package var id: UserID
        /// Nil where the group has none.
        package var budget: GroupBudget?
    }

    /// Nil where the user has none.
    package var budget: UserBudget?
    package var groups: [Group]
}

/// Looks budgets up on one event loop: from memory, or from Redis once for all who wait for the same.
///
/// Everything happens on the loop. Whoever decides asks ``known(_:groups:at:)`` first, which costs no call to Redis.
package final class BudgetReader {
    /// Who waits for something at most.
    static let waitingLimit = 8_192

    /// Sends a command about a key; the answer is nil where none came.
    typealias Ask = (_ command: [String], _ key: String, _ done: @escaping (Reply?) -> Void) -> Void
    private typealias Waiter<Value> = (Result<Value, OperationError>) -> Void

    private let keys: BudgetKeys
    private let ask: Ask
    private let failure: () -> FailureReason
    private let beginPolling: () -> Void
    private let notices: LimitNotices
    private var cache: BudgetCache
    private var hasBegunPolling = false
    /// Those who wait, under the ticket of what they wait for.
    private var usersAwaited: [Int: [Waiter<UserStanding>]] = [:]
    private var groupsAwaited: [Int: [Waiter<GroupBudget?>]] = [:]
    private var waitingCount = 0

    /// Makes a reader that remembers nothing.
    ///
    /// - Parameters:
    ///   - failure: why Redis has just given no answer.
    ///   - beginPolling: called once, before anything is asked for: from then on ``polled(_:sentAt:)`` is awaited.
    ///   - notices: is shown every budget that is read.
    init(
        keys: BudgetKeys, cache: BudgetCache = BudgetCache(), notices: LimitNotices, ask: @escaping Ask,
        failure: @escaping () -> FailureReason, beginPolling: @escaping () -> Void
    ) {
        self.keys = keys
        self.cache = cache
        self.ask = ask
        self.failure = failure
        self.notices = notices
        self.beginPolling = beginPolling
    }

    /// What is remembered of a user and the user's groups; nil where something has to be asked for, by
    /// ``load(_:groups:at:_:)``.
    ///
    /// - Parameter groups: those that the call names, at most ``BudgetBounds/groups``; nil for those that are kept.
    package func known(_ user: UserID, groups given: [UserID]?, at now: NIODeadline) -> CallerBudgets? {
        guard cache.isBelieved(at: now), let standing = cache.users.value(of: user) else { return nil }
        var groups: [CallerBudgets.Group] = []
        for group in given ?? standing.groups {
            guard let budget = cache.groups.value(of: group) else { return nil }
            groups.append(CallerBudgets.Group(id: group, budget: budget))
        }
        return CallerBudgets(budget: standing.budget, groups: groups)
    }

    /// Looks a user and the user's groups up, asking Redis for what is not remembered; `done` is called once, perhaps
    /// before this returns.
    ///
    /// - Parameter groups: those that the call names, at most ``BudgetBounds/groups``; nil for those that are kept.
    package func load(
        _ user: UserID, groups given: [UserID]?, at now: NIODeadline,
        _ done: @escaping (Result<CallerBudgets, OperationError>) -> Void
    ) {
        if !hasBegunPolling {
            hasBegunPolling = true
            beginPolling()
        }
        standing(of: user, at: now) { [weak self] result in
            switch result {
            case .failure(let error): done(.failure(error))
            case .success(let standing):
                guard let self else { return done(.failure(.redis(.redisUnreachable))) }
                collect(given ?? standing.groups, at: now) { result in
                    done(result.map { CallerBudgets(budget: standing.budget, groups: $0) })
                }
            }
        }
    }

    /// Takes the version that Redis had at `sentAt` or later.
    func polled(_ version: String, sentAt: NIODeadline) { cache.polled(version, sentAt: sentAt) }

    /// Takes the message about a change.
    func heard(_ notice: BudgetNotice) { cache.heard(notice) }

    /// Forgets what a change that was made here concerns.
    func forget(_ subject: BudgetSubject) { cache.forget(subject) }
}

// MARK: - Asking

extension BudgetReader {
    private func collect(
        _ groups: [UserID], at now: NIODeadline,
        _ done: @escaping (Result<[CallerBudgets.Group], OperationError>) -> Void
    ) {
        var budgets = [GroupBudget?](repeating: nil, count: groups.count)
        var missing = groups.count
        guard missing > 0 else { return done(.success([])) }
        var hasFailed = false
        for (index, group) in groups.enumerated() {
            budget(of: group, at: now) { result in
                guard !hasFailed else { return }
                switch result {
                case .failure(let error):
                    hasFailed = true
                    done(.failure(error))
                case .success(let budget):
                    budgets[index] = budget
                    missing -= 1
                    guard missing == 0 else { return }
                    done(.success(zip(groups, budgets).map { CallerBudgets.Group(id: $0, budget: $1) }))
                }
            }
        }
    }

    private func standing(of user: UserID, at now: NIODeadline, _ done: @escaping Waiter<UserStanding>) {
        if cache.isBelieved(at: now), let standing = cache.users.value(of: user) { return done(.success(standing)) }
        guard waitingCount < Self.waitingLimit else { return done(.failure(.redis(.overloaded))) }
        waitingCount += 1
        switch cache.users.load(user, at: now) {
        case .join(let ticket): usersAwaited[ticket, default: []].append(done)
        case .load(let ticket):
            usersAwaited[ticket] = [done]
            let subject = BudgetSubject.user(user)
            var budget: UserBudget??
            // The budget first: should the user leave a group in between, the override that went with it may be seen
            // without the membership, and what is remembered ends with the message about it.
            askForHash(keys.budget(of: subject)) { fields in
                budget = Self.read(fields, BudgetFields.userBudget)
            }
            askForHash(keys.groups(of: subject)) { [weak self] fields in
                var standing: UserStanding?
                if let budget, let groups = Self.read(fields, BudgetFields.groups) {
                    standing = UserStanding(budget: budget, groups: groups)
                }
                self?.loaded(user, standing, ticket)
            }
        }
    }

    private func budget(of group: UserID, at now: NIODeadline, _ done: @escaping Waiter<GroupBudget?>) {
        if cache.isBelieved(at: now), let budget = cache.groups.value(of: group) { return done(.success(budget)) }
        guard waitingCount < Self.waitingLimit else { return done(.failure(.redis(.overloaded))) }
        waitingCount += 1
        switch cache.groups.load(group, at: now) {
        case .join(let ticket): groupsAwaited[ticket, default: []].append(done)
        case .load(let ticket):
            groupsAwaited[ticket] = [done]
            askForHash(keys.budget(of: .group(group))) { [weak self] fields in
                guard let self else { return }
                let budget = Self.read(fields, BudgetFields.groupBudget)
                if let kept = budget ?? nil { notices.read(kept.limits, kept.grants) }
                cache.groups.loaded(group, budget, ticket: ticket)
                let waiting = groupsAwaited.removeValue(forKey: ticket) ?? []
                tell(waiting, budget.map { .success($0) } ?? .failure(.redis(fields == nil ? failure() : .redisError)))
            }
        }
    }

    private func loaded(_ user: UserID, _ standing: UserStanding?, _ ticket: Int) {
        if let kept = standing?.budget { notices.read(kept.limits, kept.grants) }
        cache.users.loaded(user, standing, ticket: ticket)
        let waiting = usersAwaited.removeValue(forKey: ticket) ?? []
        tell(waiting, standing.map { .success($0) } ?? .failure(.redis(failure())))
    }

    private func tell<Value>(_ waiting: [Waiter<Value>], _ result: Result<Value, OperationError>) {
        waitingCount -= waiting.count
        for done in waiting { done(result) }
    }

    /// What the fields stand for; nil where there are none or where they are not what the scripts write.
    private static func read<Value>(
        _ fields: [String]?, _ reading: ([String]) throws(BudgetFailure) -> Value
    ) -> Value? {
        guard let fields else { return nil }
        do { return .some(try reading(fields)) } catch { return nil }
    }

    private func askForHash(_ key: String, _ done: @escaping ([String]?) -> Void) {
        ask(["HGETALL", key], key) { reply in done(reply?.texts) }
    }
}
