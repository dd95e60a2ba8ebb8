import NIOCore
import RateLimitCore
import RateLimitService

/// Answers requests in the domain of the daemon's own limits, on one event loop: step by step through the engine, as every
/// other way to ask does.
final class LimitsDomain: DecisionRequester {
    /// A request under way.
    fileprivate struct Pending {
        let request: LimitsDomainRequest
        let responder: any UnaryResponder
        let ticket: Int
        /// What each step came to; nil for one that was left out.
        var outcomes: [Outcome?] = []
        /// The first that denied.
        var denial: Outcome?
        /// The call for which the step under way asks for a lease.
        var reserving: ReservedCalls.Key?
    }

    private let engine: CheckEngine
    private var reserved: ReservedCalls
    /// Those whose next step waits for Redis, by the ticket of that step: as many as the engine's queue has room for.
    private var pending: [Int: Pending] = [:]
    private var nextTicket = 0

    init(engine: CheckEngine, reserved: ReservedCalls = ReservedCalls()) {
        self.engine = engine
        self.reserved = reserved
    }

    /// How many calls are held or about to be.
    var reservedCount: Int { reserved.count }

    /// Takes a request in, as ``UnaryMethod/begin(_:arrivedAt:responder:ticket:)`` does.
    func begin(
        _ request: DescriptorRequest, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        let request = try LimitsDomainRequest(request, under: engine.limits)
        return try goOn(Pending(request: request, responder: responder, ticket: ticket), arrivedAt: now)
    }

    func deliver(_ outcome: Outcome, ticket: Int) {
        guard var call = pending.removeValue(forKey: ticket) else {
            preconditionFailure("each step is decided once")
        }
        do throws(GRPCError) {
            try note(outcome, of: call.request.steps[call.outcomes.count], in: &call)
            if let outcome = try goOn(call, arrivedAt: .now()) { call.responder.deliver(outcome, ticket: call.ticket) }
        } catch {
            call.responder.fail(error, ticket: call.ticket)
        }
    }

    /// Does what is left of a request, as far as that goes without Redis; the outcome where that is all.
    private func goOn(_ call: Pending, arrivedAt now: NIODeadline) throws(GRPCError) -> Outcome? {
        var call = call
        while call.outcomes.count < call.request.steps.count {
            let step = call.request.steps[call.outcomes.count]
            // A denial takes nothing and charges nothing.
            if call.denial != nil, [.ask, .charge, .refund].contains(step.kind) {
                call.outcomes.append(nil)
                continue
            }
            guard let request = step.request else {
                var denial = Outcome(.deniedForGood, source: .off)
                denial.isShadowDenied = engine.isShadow
                try note(denial, of: step, in: &call)
                continue
            }
            let asked = asked(request, by: step, in: &call, at: now)
            let ticket = nextTicket
            nextTicket += 1
            // Before it is asked: what it is told may come while it is.
            pending[ticket] = call
            guard let outcome = engine.call(asked, arrivedAt: now, requester: self, ticket: ticket) else { return nil }
            pending[ticket] = nil
            try note(outcome, of: step, in: &call)
        }
        return call.outcome
    }

    /// What a step asks by now: by what is held for its call.
    private func asked(
        _ request: CallRequest, by step: LimitsDomainRequest.Step, in call: inout Pending, at now: NIODeadline
    ) -> CallRequest {
        guard let requestID = step.requestID else { return request }
        let key = ReservedCalls.Key(user: request.user, requestID: requestID)
        var request = request
        switch step.kind {
        case .ask:
            switch reserved.state(of: key, at: now) {
            case nil:
                reserved.set(.reserving, of: key, at: now)
                call.reserving = key
                request.operation = .reserve(milliseconds: engine.leases.usualMilliseconds)
            // The same call asks again: what it holds is its own, and it takes nothing twice.
            case .held?: request.operation = .look
            case .reserving?: request.cost = 0
            }
        case .charge: if let lease = reserved.remove(key) { request.operation = .settle(lease) }
        case .peek, .refund, .deny: break
        }
        return request
    }

    /// Notes what a step came to.
    private func note(
        _ outcome: Outcome, of step: LimitsDomainRequest.Step, in call: inout Pending
    ) throws(GRPCError) {
        if let key = call.reserving {
            call.reserving = nil
            hold(outcome.details?.lease, for: key)
        }
        if let reason = outcome.degradedReason, outcome.verdict == .refused {
            switch step.kind {
            case .charge:
                throw GRPCError(
                    code: .unavailable, message: "cannot charge what the call came to: \(reason.rawValue)")
            case .refund:
                throw GRPCError(code: .unavailable, message: "cannot give hits back: \(reason.rawValue)")
            case .peek, .ask, .deny: break
            }
        }
        if call.denial == nil, !outcome.isAllowed { call.denial = outcome }
        call.outcomes.append(outcome)
    }

    /// Keeps the lease of a call that goes on, where there is one. A call that has ended meanwhile, because its proxy did
    /// not wait, has been charged without it.
    private func hold(_ lease: Lease?, for key: ReservedCalls.Key) {
        let now = NIODeadline.now()
        let isWaitedFor = reserved.state(of: key, at: now) == .reserving
        guard let lease else {
            if isWaitedFor { reserved.forget(key) }
            return
        }
        guard isWaitedFor else {
            let release = CallRequest(user: key.user, operation: .release(lease))
            _ = engine.call(release, arrivedAt: now, requester: Nobody(), ticket: 0)
            return
        }
        let life = TimeAmount.milliseconds(Int64(engine.leases.usualMilliseconds))
        reserved.set(.held(lease, lapsesAt: now + life), of: key, at: now)
    }
}

/// Whom nothing has to be told.
private final class Nobody: DecisionRequester {
    func deliver(_ outcome: Outcome, ticket: Int) {}
}

extension LimitsDomain.Pending {
    /// What the request came to: the denial, else what the last step did.
    fileprivate var outcome: Outcome {
        guard var outcome = denial ?? outcomes.compactMap({ $0 }).last else {
            preconditionFailure("a request has a step, and the first is done")
        }
        if outcome.degradedReason == nil { outcome.degradedReason = outcomes.compactMap { $0?.degradedReason }.first }
        let standings = zip(request.steps, outcomes).map { step, outcome in
            outcome.map { DescriptorStanding(of: $0, isCharge: step.kind == .charge) } ?? DescriptorStanding(nil)
        }
        var details = outcome.details ?? OutcomeDetails()
        details.descriptors = request.stepOfDescriptor.map { standings[$0] }
        outcome.details = details
        return outcome
    }
}

extension DescriptorStanding {
    /// How the limit that binds stands after a call, as a descriptor that named the call is told.
    fileprivate init(of outcome: Outcome, isCharge: Bool) {
        let standing = outcome.details?.binding
        let limit = standing.flatMap { $0.quota.amount == nil ? nil : DescriptorLimit($0) }
        let state = standing?.bindingState
        var isOver = !outcome.isAllowed || outcome.isShadowDenied
        var reset = state?.resetAfterMilliseconds
        switch outcome.verdict {
        case .denied(let milliseconds), .atCapacity(let milliseconds): reset = milliseconds
        case .deniedForGood: reset = nil
        default: if isCharge, let state { isOver = state.used > state.quota }
        }
        self.init(limit, isOver: isOver, remaining: state?.remaining, resetAfterMilliseconds: reset)
    }
}

extension DescriptorLimit {
    /// One of the limits file's, as a proxy is told of it; nil where it has no window that is a number of units.
    fileprivate convenience init?(_ standing: LimitStanding) {
        guard let amount = standing.quota.amount, let (unit, multiplier) = standing.units,
            let quota = DescriptorQuota(min(amount, Int(UInt32.max)), per: unit, times: multiplier)
        else { return nil }
        let name = standing.limit.name.text
        self.init(Definition(domain: LimitsDomainRequest.domain, path: name, name: name, quota: quota))
    }
}

extension LimitStanding {
    /// How long the window is: the largest unit of which it is a whole number, and how many. A calendar's period is one of
    /// its unit. A lifetime has no length.
    fileprivate var units: (DescriptorUnit, Int)? {
        switch limit.window {
        case nil, .lifetime: return nil
        case .calendar(let kind, _, starts: _):
            switch kind {
            case .hour: return (.hour, 1)
            case .day: return (.day, 1)
            case .week: return (.week, 1)
            case .month: return (.month, 1)
            case .quarter: return (.month, 3)
            case .year: return (.year, 1)
            }
        case .sliding(let milliseconds):
            let unit = [DescriptorUnit.year, .month, .week, .day, .hour, .minute, .second].first {
                milliseconds.isMultiple(of: $0.milliseconds)
            }
            return unit.map { ($0, milliseconds / $0.milliseconds) }
        }
    }
}
