public import NIOCore
public import RateLimitCore
import RedisClient

/// Every operation is called on one of the service's event loops, and answered there.
extension BudgetService {
    /// Makes a change; what it sets is of the units that the limits in force have. When it is answered, everybody who
    /// asks this process sees it, and whoever asks another replica a second later.
    public func change(
        _ change: BudgetChange, by actor: BudgetActor, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<BudgetChangeResult, BudgetFailure>> {
        let promise = eventLoop.makePromise(of: Result<BudgetChangeResult, BudgetFailure>.self)
        let key = commands.keys.budget(of: change.subject)
        let engine = engine(on: eventLoop)
        let change = change.inUnits(of: engine.policy.limits.set)
        engine.perform(
            commands.change(change, by: actor, version: BudgetCommands.newVersion()), forKey: key, .array
        ) {
            [self] result in
            do throws(BudgetFailure) {
                let parts = try ChangeParts(result, of: change)
                let result = try parts.result(of: change)
                guard commands.isCluster else { return settle(.success(result), change.subject, promise) }
                let entry = commands.auditEntry(change, by: actor, parts)
                announce(change.subject, entry, on: eventLoop) { failure in
                    if let failure { return promise.succeed(.failure(.redis(failure))) }
                    self.settle(.success(result), change.subject, promise)
                }
            } catch {
                promise.succeed(.failure(error))
            }
        }
        return promise.futureResult
    }

    /// In a cluster: says that something was changed, then writes it into the audit.
    private func announce(
        _ subject: BudgetSubject, _ entry: [String]?, on eventLoop: any EventLoop,
        _ done: @escaping (FailureReason?) -> Void
    ) {
        let engine = engine(on: eventLoop)
        let keys = commands.keys
        announce(.budget(subject), on: engine) { [self] failure in
            if let failure { return done(failure) }
            guard let entry else { return done(nil) }
            engine.perform(entry, forKey: keys.audit, .text) { result in done(self.failure(of: result)) }
        }
    }

    /// Says to all daemons that something was changed; `done` is told why that cannot be, nil where it is said.
    func announce(
        _ change: ChangeNotice.Change, on engine: CheckEngine, _ done: @escaping (FailureReason?) -> Void
    ) {
        engine.perform(commands.announcement(change), forKey: commands.keys.version, .text) { [self] result in
            // The script replies the error with which PUBLISH was refused; the version tells all the same.
            if case .success(let reply) = result, let refusal = reply.elements.first.flatMap({ reply.text(of: $0) }),
                !refusal.isEmpty
            {
                engine.note(refusal, to: .publish)
            }
            done(failure(of: result))
        }
    }

    private func failure(of result: CommandResult) -> FailureReason? {
        switch result {
        case .failure(let reason): reason
        case .success(let reply): reply.errorText == nil ? nil : .redisError
        }
    }

    /// A user's override; nil for none.
    public func userBudget(
        of user: SubjectID, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<UserBudget?, BudgetFailure>> {
        hash(commands.keys.budget(of: .user(user)), on: eventLoop, BudgetFields.userBudget)
    }

    /// A group's budget; nil for none.
    public func groupBudget(
        of group: SubjectID, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<GroupBudget?, BudgetFailure>> {
        hash(commands.keys.budget(of: .group(group)), on: eventLoop, BudgetFields.groupBudget)
    }

    /// A user's membership in a group; nil for none.
    public func membership(
        of user: SubjectID, in group: SubjectID, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<Membership?, BudgetFailure>> {
        hash(commands.keys.groups(of: .user(user)), on: eventLoop) { (fields) throws(BudgetFailure) in
            guard let index = fields.firstIndex(of: group.encoded), index + 1 < fields.count else { return nil }
            return try BudgetFields.membership(["created_at", fields[index + 1]])
        }
    }

    /// The newest entries of the audit, or those older than the one at a cursor.
    ///
    /// - Parameter limit: how many at most, within ``AuditPage/sizes``.
    public func audit(
        limit: Int, olderThan cursor: StreamCursor?, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<AuditPage, BudgetFailure>> {
        var end = "+"
        if let cursor {
            // Nothing is older than the first place there is.
            end = cursor.before.map { "\($0)" } ?? "0-0"
        }
        let key = commands.keys.audit
        let command = ["XREVRANGE", key, end, "-", "COUNT", "\(limit)"]
        return read(command, key, .array, on: eventLoop) { (reply) throws(BudgetFailure) in
            guard let page = AuditPage(reply, limit: limit) else { throw .redis(.redisError) }
            return page
        }
    }

    private func hash<Value: Sendable>(
        _ key: String, on eventLoop: any EventLoop, _ reading: @escaping ([String]) throws(BudgetFailure) -> Value
    ) -> EventLoopFuture<Result<Value, BudgetFailure>> {
        read(["HGETALL", key], key, .texts, on: eventLoop) { (reply) throws(BudgetFailure) in
            guard let fields = reply.texts else { throw .redis(.redisError) }
            return try reading(fields)
        }
    }

    private func read<Value: Sendable>(
        _ command: [String], _ key: String, _ form: ReplyForm, on eventLoop: any EventLoop,
        _ reading: @escaping (Reply) throws(BudgetFailure) -> Value
    ) -> EventLoopFuture<Result<Value, BudgetFailure>> {
        let promise = eventLoop.makePromise(of: Result<Value, BudgetFailure>.self)
        engine(on: eventLoop).perform(command, forKey: key, form) { result in
            promise.succeed(
                Result { () throws(BudgetFailure) in
                    switch result {
                    case .failure(let reason): throw .redis(reason)
                    case .success(let reply): try reading(reply)
                    }
                })
        }
        return promise.futureResult
    }
}
