import DecisionTracing
import HTTPServer
import NIOCore
import RateLimitCore
import RateLimitService

/// `envoy.service.auth.v3.Authorization/Check` on one event loop: decides as `/v1/auth` does, with cost 1, for whoever the
/// headers name.
final class AuthorizationCheckMethod: UnaryMethod {
    /// Where it is called.
    static let path = "/envoy.service.auth.v3.Authorization/Check"

    /// Who calls where headers and the peer alone tell it.
    var callers: CallerRules
    /// Which headers say how a quota stands.
    var quotaHeaders: QuotaHeaders {
        get { answers.quotaHeaders }
        set { answers.quotaHeaders = newValue }
    }
    let operation: TracedOperation? = .authorize
    private let engine: CheckEngine
    private let answers: AuthorizationAnswers

    /// - Parameter limitName: what the limit of checks is called.
    init(engine: CheckEngine, callers: CallerRules, limitName: String) {
        self.engine = engine
        self.callers = callers
        answers = AuthorizationAnswers(limitName: limitName)
    }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        let request = try CheckRequest(protobuf: message)
        let call: CallRequest
        do throws(CallerProblem) {
            call = try self.call(request)
        } catch {
            var answer = ByteBuffer()
            CheckResponse.write(answers.answer(error), to: &answer)
            responder.respond(answer, ticket: ticket)
            return nil
        }
        guard engine.hasFileLimits || call.operation != .check else {
            return engine.check(call.user, cost: call.cost, arrivedAt: now, requester: responder, ticket: ticket)
        }
        return engine.call(call, arrivedAt: now, requester: responder, ticket: ticket)
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {
        CheckResponse.write(answers.answer(outcome), to: &message)
    }

    private func call(_ request: CheckRequest) throws(CallerProblem) -> CallRequest {
        let limits = engine.limits
        let caller = try callers.caller(at: request.peer, request.values)
        let said = try callers.attributes(
            labelNames: limits.set.labelNames, readsGroups: limits.groupsAreGiven, limits: limits.set,
            request.values)
        return CallRequest(
            user: caller, operation: CallRequest.Operation(checkWithID: try callers.callID(request.values)),
            attributes: said.configured(by: request, under: limits))
    }
}

extension CallAttributes {
    /// The same, where the proxy's configuration says something of the call by context extensions: that stands in place of
    /// what headers say, and a group is one more.
    fileprivate func configured(by request: CheckRequest, under limits: LimitsInForce) -> CallAttributes {
        var labels = labels
        for name in limits.set.labelNames {
            if let value = request.contextExtension("label.\(name)") { labels[name] = value }
        }
        var groups = groups
        if limits.groupsAreGiven, let group = request.contextExtension("group").flatMap({ SubjectID($0) }) {
            groups.append(group)
        }
        var quotas = quotas
        for limit in limits.definitions where limit.maximumCallQuota != nil {
            let text = request.contextExtension("quota.\(limit.name)")
            guard let amount = text.flatMap({ WholeNumber.read($0.utf8) }), LimitDefinition.quotas.contains(amount),
                let quota = limits.set.callQuota(named: limit.name.text, amount).quota
            else { continue }
            quotas.append(quota)
        }
        return CallAttributes(
            model: request.contextExtension("model") ?? model,
            provider: request.contextExtension("provider") ?? provider, labels: labels, groups: groups, quotas: quotas)
    }
}
