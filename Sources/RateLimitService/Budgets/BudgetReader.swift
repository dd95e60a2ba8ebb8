package import NIOCore
package import RateLimitCore
import RedisClient

/// What a decision needs to know of a caller: the override, and what the caller's groups have.
package struct CallerBudgets: Hashable, Sendable {
    /// One of the caller's groups.
    package struct Group: Hashable, Sendable {
        package var id: SubjectID
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

    /// Sends a command about a key, whose reply is of a form.
    typealias Ask = (
        _ command: [String], _ key: String, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) -> Void
    private typealias Waiter<Value> = (Result<Value, OperationError>) -> Void

    private let keys: BudgetKeys
    private let ask: Ask
    private let refused: (_ error: String, _ key: String) -> Void
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
    ///   - refused: told the error with which Redis did not let a key be read.
    ///   - beginPolling: called once, before anything is asked for: from then on ``polled(_:sentAt:)`` is awaited.
    ///   - notices: is shown every budget that is read.
    init(
        keys: BudgetKeys, cache: BudgetCache = BudgetCache(), notices: LimitNotices, ask: @escaping Ask,
        refused: @escaping (_ error: String, _ key: String) -> Void, beginPolling: @escaping () -> Void
    ) {
        self.keys = keys
        self.cache = cache
        self.ask = ask
        self.refused = refused
        self.notices = notices
        self.beginPolling = beginPolling
    }

    /// What is remembered of a user and the user's groups; nil where something has to be asked for, by
    /// ``load(_:groups:at:_:)``.
    ///
    /// - Parameter groups: those that the call names, at most ``BudgetBounds/groups``; nil for those that are kept.
    package func known(_ user: SubjectID, groups given: [SubjectID]?, at now: NIODeadline) -> CallerBudgets? {
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
        _ user: SubjectID, groups given: [SubjectID]?, at now: NIODeadline,
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
    func heard(_ notice: ChangeNotice) { cache.heard(notice) }

    /// Forgets what a change that was made here concerns.
    func forget(_ subject: BudgetSubject) { cache.forget(subject) }
}

// MARK: - Asking

extension BudgetReader {
    private func collect(
        _ groups: [SubjectID], at now: NIODeadline,
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

    private func standing(of user: SubjectID, at now: NIODeadline, _ done: @escaping Waiter<UserStanding>) {
        if cache.isBelieved(at: now), let standing = cache.users.value(of: user) { return done(.success(standing)) }
        guard waitingCount < Self.waitingLimit else { return done(.failure(.redis(.overloaded))) }
        waitingCount += 1
        switch cache.users.load(user, at: now) {
        case .join(let ticket): usersAwaited[ticket, default: []].append(done)
        case .load(let ticket):
            usersAwaited[ticket] = [done]
            let subject = BudgetSubject.user(user)
            var budget = Result<UserBudget?, OperationError>.failure(.redis(.redisError))
            // The budget first: should the user leave a group in between, the override that went with it may be seen
            // without the membership, and what is remembered ends with the message about it.
            askForHash(keys.budget(of: subject), BudgetFields.userBudget) { budget = $0 }
            askForHash(keys.groups(of: subject), BudgetFields.groups) { [weak self] groups in
                let standing = budget.flatMap { budget in
                    groups.map { UserStanding(budget: budget, groups: $0) }
                }
                self?.loaded(user, standing, ticket)
            }
        }
    }

    private func budget(of group: SubjectID, at now: NIODeadline, _ done: @escaping Waiter<GroupBudget?>) {
        if cache.isBelieved(at: now), let budget = cache.groups.value(of: group) { return done(.success(budget)) }
        guard waitingCount < Self.waitingLimit else { return done(.failure(.redis(.overloaded))) }
        waitingCount += 1
        switch cache.groups.load(group, at: now) {
        case .join(let ticket): groupsAwaited[ticket, default: []].append(done)
        case .load(let ticket):
            groupsAwaited[ticket] = [done]
            askForHash(keys.budget(of: .group(group)), BudgetFields.groupBudget) { [weak self] budget in
                guard let self else { return }
                if let kept = try? budget.get() { notices.read(kept.limits, kept.grants) }
                // `try?` makes one optional of two: a read that failed would be remembered as a group without a budget.
                let answer: GroupBudget?? = if case .success(let kept) = budget { .some(kept) } else { nil }
                cache.groups.loaded(group, answer, ticket: ticket)
                tell(groupsAwaited.removeValue(forKey: ticket) ?? [], budget)
            }
        }
    }

    private func loaded(_ user: SubjectID, _ standing: Result<UserStanding, OperationError>, _ ticket: Int) {
        if let kept = try? standing.get().budget { notices.read(kept.limits, kept.grants) }
        cache.users.loaded(user, try? standing.get(), ticket: ticket)
        tell(usersAwaited.removeValue(forKey: ticket) ?? [], standing)
    }

    private func tell<Value>(_ waiting: [Waiter<Value>], _ result: Result<Value, OperationError>) {
        waitingCount -= waiting.count
        for done in waiting { done(result) }
    }

    /// Reads a hash. One whose fields are not what the scripts write is an error of Redis's, as is one that it refuses.
    private func askForHash<Value>(
        _ key: String, _ reading: @escaping ([String]) throws(BudgetFailure) -> Value,
        _ done: @escaping (Result<Value, OperationError>) -> Void
    ) {
        ask(["HGETALL", key], key, .texts) { [refused] result in
            switch result {
            case .failure(let reason): done(.failure(.redis(reason)))
            case .success(let reply):
                if let error = reply.errorText { refused(error, key) }
                guard let fields = reply.texts, let value = try? reading(fields) else {
                    return done(.failure(.redis(.redisError)))
                }
                done(.success(value))
            }
        }
    }
}
