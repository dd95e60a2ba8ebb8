import Listeners
import NIOCore
import RateLimitCore
import RateLimitService

/// How requests of the admin socket are answered.
extension SlowPathHandler {
    func perform(_ request: AdminRequest, ticket: Int, _ eventLoop: any EventLoop) {
        let budgets = connection.loop.service.budgets
        switch request {
        case .userBudget(let user):
            let rules = connection.loop.engine.limits.rules
            answer(budgets.userBudget(of: user, on: eventLoop), ticket) { budget in
                .stored(
                    budget.map { .user($0) }, of: user, group: nil, under: rules,
                    absent: "The user \(user) has no budget of its own.")
            }
        case .groupBudget(let group):
            let rules = connection.loop.engine.limits.rules
            answer(budgets.groupBudget(of: group, on: eventLoop), ticket) { budget in
                .stored(
                    budget.map { .group($0) }, of: nil, group: group, under: rules,
                    absent: "The group \(group) has no budget.")
            }
        case .membership(let user, let group):
            answer(budgets.membership(of: user, in: group, on: eventLoop), ticket) { membership in
                .stored(
                    membership.map { .membership($0) }, of: user, group: group,
                    absent: "The user \(user) is not a member of the group \(group)."
                )
            }
        case .resetDescriptor(let reset): perform(reset, ticket: ticket, eventLoop)
        case .audit(let limit, let cursor):
            answer(budgets.audit(limit: limit, olderThan: cursor, on: eventLoop), ticket) { .audit($0) }
        case .events(let limit, let cursor):
            let page = connection.loop.service.events.stream.page(limit: limit, after: cursor, on: eventLoop)
            answer(page.map { $0.mapError { .redis($0) } }, ticket) { .events($0) }
        case .change(let change, let exempt):
            do throws(BudgetRefusal) {
                try change.check(under: connection.loop.engine.limits.rules, exempt: exempt)
                perform(change, ticket, eventLoop)
            } catch {
                connection.answer(.refused(error), ticket: ticket)
            }
        case .grant(let subject, let body):
            do throws(GrantRefusal) {
                let order = try connection.loop.engine.limits.grant(
                    body.amount, of: body.limit, to: subject, requestID: body.requestID,
                    atUnixSeconds: unixMilliseconds() / 1_000)
                perform(.addGrant(subject, order), ticket, eventLoop)
            } catch {
                connection.answer(.refused(error), ticket: ticket)
            }
        }
    }

    private func perform(_ change: BudgetChange, _ ticket: Int, _ eventLoop: any EventLoop) {
        let loop = connection.loop
        // Now, while the connection is there for certain.
        let peer = connection.peer
        let actor = BudgetActor(userIdentifier: peer?.userIdentifier, processIdentifier: peer?.processIdentifier)
        loop.service.budgets.change(change, by: actor, on: eventLoop).assumeIsolated().whenSuccess {
            [connection] result in
            loop.reports.budget(BudgetReport(change: change, peer: peer, result: result))
            connection.answer(.changed(change, result), ticket: ticket)
            loop.flush()
        }
    }

    func perform(_ reset: LimitReset, ticket: Int, _ eventLoop: any EventLoop) {
        let loop = connection.loop
        // Now, while the connection is there for certain.
        let peer = connection.peer
        loop.service.reset(reset, on: eventLoop).assumeIsolated().whenSuccess { [connection] result in
            let failure: ResetError? = if case .failure(let error) = result { error } else { nil }
            loop.reports.reset(ResetReport(reset: reset, peer: peer, failure: failure))
            connection.answer(failure.map { .notReset(reset, $0) } ?? Answer(status: .noContent), ticket: ticket)
            loop.flush()
        }
    }

    private func perform(_ reset: DescriptorReset, ticket: Int, _ eventLoop: any EventLoop) {
        let loop = connection.loop
        // Now, while the connection is there for certain.
        let peer = connection.peer
        loop.service.reset(reset, on: eventLoop).assumeIsolated().whenSuccess { [connection] result in
            let failure: DescriptorResetError? = if case .failure(let error) = result { error } else { nil }
            loop.reports.descriptorReset(DescriptorResetReport(reset: reset, peer: peer, failure: failure))
            connection.answer(failure.map { .notReset($0) } ?? Answer(status: .noContent), ticket: ticket)
            loop.flush()
        }
    }

    private func answer<Value>(
        _ future: EventLoopFuture<Result<Value, BudgetFailure>>, _ ticket: Int, _ form: @escaping (Value) -> Answer
    ) {
        let loop = connection.loop
        future.assumeIsolated().whenSuccess { [connection] result in
            switch result {
            case .success(let value): connection.answer(form(value), ticket: ticket)
            case .failure(let error): connection.answer(.unreadable(error), ticket: ticket)
            }
            loop.flush()
        }
    }
}

extension BudgetChange {
    /// Refuses a budget of which a part can have no effect.
    fileprivate func check(under rules: QuotaRules, exempt: Set<String>) throws(BudgetRefusal) {
        switch self {
        case .putUserBudget(_, let terms, _): try rules.check(terms, of: .user, exempt: exempt)
        case .putGroupBudget(_, let terms): try rules.check(terms, of: .group, exempt: exempt)
        case .deleteUserBudget, .deleteGroupBudget, .putMember, .deleteMember, .addGrant, .deleteGrants: break
        }
    }
}
