public import NIOCore
import RateLimitCore
import RedisClient

extension CheckService {
    /// Lets windows begin anew; every replica forgets the user's denials, and does the reset again where Redis goes back to
    /// a state before it. A reset of one limit is not done again.
    public func reset(
        _ reset: LimitReset, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<Void, ResetError>> {
        let known = policy.limits(of: reset.owner)
        let named = reset.limit.flatMap { limit in known.first { $0.name == limit } }
        if reset.limit != nil, named == nil {
            return eventLoop.makeSucceededFuture(.failure(.unknownLimit(known: known.map(\.name))))
        }
        // That of checks may be off now and have been in force when Redis was lost.
        localWindows.reset(
            reset.owner, limitIDs: named.map { [$0.id] } ?? known.map(\.id) + [LimitDefinition.requestsID])
        let message = Invalidation(reset)
        for engine in engines { engine.execute { $0.forgetDenials(of: message.user) } }
        let promise = eventLoop.makePromise(of: Result<Void, ResetError>.self)
        let engine = engine(on: eventLoop)
        engine.reset(reset.owner, limitID: named?.id, hasValues: named?.maximumValues != nil) { [self] failure in
            if let failure { return promise.succeed(.failure(.redis(failure))) }
            if reset.limit == nil { dataLossWatch.wasReset(reset.owner) }
            // Only now: in a cluster the two may go to two nodes, and a denial must not be remembered in between.
            budgets.announce(.denials(message), on: engine) { [engines] failure in
                // Here again, where no message may come: what was decided before the reset may have been remembered since.
                for engine in engines { engine.execute { $0.forgetDenials(of: message.user) } }
                promise.succeed(failure.map { .failure(.redis($0)) } ?? .success(()))
            }
        }
        return promise.futureResult
    }
}
