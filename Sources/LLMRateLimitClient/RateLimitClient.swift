import NIOCore
import NIOPosix

/// Asks llm-rate-limit, the daemon beside LLM gateways, whether a call may go on.
///
/// Make one and share it: it keeps its connections open, and may be used from any task. Each question ends within the
/// deadline, connecting and waiting included, whatever the daemon does. A check or a reservation is allowed where the
/// daemon cannot be asked, and says so (``Decision/degradation``). A denial is a value and no error.
///
///     let client = RateLimitClient()
///     let decision = try await client.check(Call(user: "alice@example.com", model: "gpt-4o"))
///     guard decision.isAllowed else { return tooManyRequests(decision.retryAfterSeconds) }
///
/// A task that is cancelled does not cancel its question: that is over within the deadline anyway, and what ends a
/// reservation must be sent.
public final class RateLimitClient: Sendable {
    /// The time for one question, where none is given.
    public static let standardDeadline = Duration.milliseconds(200)
    /// How many connections there may be, where it is not said.
    public static let standardConnections = 64

    private let pool: NIOLoopBoundBox<ConnectionPool>
    private let eventLoop: any EventLoop
    private let deadline: TimeAmount

    /// Makes a client; nothing is connected yet.
    ///
    /// - Parameters:
    ///   - address: where the daemon listens.
    ///   - deadline: for one question, from 1 ms to an hour.
    ///   - maximumConnections: at least 1. Where all are in use, up to 1,024 questions wait, each for its own deadline.
    public init(
        at address: DaemonAddress = .standard, deadline: Duration = standardDeadline,
        maximumConnections: Int = standardConnections
    ) {
        precondition(maximumConnections > 0, "a client needs a connection")
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        self.eventLoop = eventLoop
        self.deadline = TimeAmount(min(max(deadline, .milliseconds(1)), .seconds(3_600)))
        pool = NIOLoopBoundBox.makeBoxSendingValue(
            ConnectionPool(address: address, eventLoop: eventLoop, maximumConnections: maximumConnections),
            eventLoop: eventLoop)
    }

    deinit { eventLoop.execute { [pool] in pool.value.close() } }

    /// Sends a request, and gives the answer whatever its status is.
    package func send(_ request: DaemonRequest) async throws(RateLimitClientError) -> DaemonResponse {
        let promise = eventLoop.makePromise(of: DaemonResponse.self)
        eventLoop.execute { [pool, deadline] in
            pool.value.begin(PendingExchange(request, deadline: deadline, promise: promise))
        }
        do {
            return try await promise.futureResult.get()
        } catch {
            guard let error = error as? RateLimitClientError else {
                preconditionFailure("an exchange fails with an error of its own: \(error)")
            }
            throw error
        }
    }
}

// MARK: - Decisions

extension RateLimitClient {
    /// Decides whether a call may go on, and charges its requests if so.
    ///
    /// - Parameter isDryRun: whether it only says what it would decide, and charges nothing.
    /// - Throws: ``RateLimitClientError/refused(status:detail:)`` where the daemon does not accept the call, such as a user
    ///   of more than 256 bytes.
    public func check(_ call: Call, isDryRun: Bool = false) async throws(RateLimitClientError) -> Decision {
        var members = CallMembers(call)
        members.isDryRun = isDryRun ? true : nil
        return try await decide(DaemonRequest(method: .post, uri: "/v1/check", body: members.json), call)
    }

    /// Decides, and holds what the call is expected to come to until it is settled, released, or its lease lapses.
    ///
    /// ``reserve(_:timeToLiveSeconds:isolation:_:)`` does what has to be done with the lease by itself.
    ///
    /// - Parameters:
    ///   - timeToLiveSeconds: after which the lease lapses unless it is renewed, from 1 to 86,400; nil for the daemon's own.
    ///   - isDryRun: whether it only says what it would decide, holds nothing and gives no lease.
    /// - Throws: ``RateLimitClientError/refused(status:detail:)`` where the daemon does not accept the call.
    public func takeLease(
        _ call: Call, timeToLiveSeconds: Int? = nil, isDryRun: Bool = false
    ) async throws(RateLimitClientError) -> Decision {
        var members = CallMembers(call)
        members.ttl = timeToLiveSeconds
        members.isDryRun = isDryRun ? true : nil
        return try await decide(DaemonRequest(method: .post, uri: "/v1/reserve", body: members.json), call)
    }

    private func decide(_ request: DaemonRequest, _ call: Call) async throws(RateLimitClientError) -> Decision {
        do throws(RateLimitClientError) {
            return try Decision(await send(request), user: call.user)
        } catch {
            switch error {
            case .refused: throw error
            default: return .open(because: error)
            }
        }
    }
}

// MARK: - What a call came to

extension RateLimitClient {
    /// Charges what a call came to in place of what its lease holds; once, however often it is sent.
    ///
    /// - Parameter model: the one that answered, where it is another than was asked for.
    /// - Throws: ``RateLimitClientError``; where it was not refused, sending it again later does no harm.
    @discardableResult
    public func settle(
        _ lease: Lease, _ usage: Usage, model: String? = nil
    ) async throws(RateLimitClientError) -> Settlement {
        var members = CallMembers(lease)
        members.take(usage)
        members.model = model
        let request = DaemonRequest(method: .post, uri: "/v1/settle", body: members.json, isRepeatable: true)
        return try Settlement(await send(request))
    }

    /// Gives back what a lease holds, and charges nothing.
    ///
    /// - Returns: whether the lease stood.
    /// - Throws: ``RateLimitClientError``; where it was not refused, sending it again later does no harm.
    @discardableResult
    public func release(_ lease: Lease) async throws(RateLimitClientError) -> Bool {
        let body = CallMembers(lease).json
        let request = DaemonRequest(method: .post, uri: "/v1/release", body: body, isRepeatable: true)
        return try await answer(to: request, ReleaseAnswer.self)?.released ?? false
    }

    /// Has a lease live on.
    ///
    /// - Parameter timeToLiveSeconds: from now on, from 1 to 86,400.
    /// - Returns: the lease to go on with; nil where it does not stand any more.
    /// - Throws: ``RateLimitClientError``.
    public func renew(_ lease: Lease, timeToLiveSeconds: Int) async throws(RateLimitClientError) -> Lease? {
        var members = CallMembers(lease)
        members.ttl = timeToLiveSeconds
        let request = DaemonRequest(method: .post, uri: "/v1/renew", body: members.json, isRepeatable: true)
        guard let renewed = try await answer(to: request, RenewalAnswer.self) else { return nil }
        return Lease(
            token: renewed.lease, user: lease.user, expiresInSeconds: renewed.expiresIn, estimate: lease.estimate)
    }

    /// Charges what a call came to for which nothing was reserved.
    ///
    /// - Parameter requestID: with it the same usage is charged once, however often it is sent; 1 to 128 bytes.
    /// - Throws: ``RateLimitClientError``.
    @discardableResult
    public func usage(
        of call: Call, _ usage: Usage, requestID: String? = nil
    ) async throws(RateLimitClientError) -> Settlement {
        var members = CallMembers(call)
        // The check of the call has charged its requests.
        members.cost = nil
        members.take(usage)
        members.requestID = requestID
        let request = DaemonRequest(
            method: .post, uri: "/v1/usage", body: members.json, isRepeatable: requestID != nil)
        return try Settlement(await send(request))
    }

    /// Takes back what was charged by mistake, in every limit that counted it and never below nothing.
    ///
    /// - Parameters:
    ///   - call: as it was when it was charged; its `cost` and `estimate` do not count.
    ///   - usage: what was charged; what the daemon's prices said of it is given back as well.
    ///   - requests: how many requests are given back, from 0 to 1,000,000.
    ///   - requestID: with it the same refund is done once, however often it is sent; 1 to 128 bytes. It may be that of the
    ///     usage that is taken back.
    /// - Throws: ``RateLimitClientError``.
    @discardableResult
    public func refund(
        of call: Call, _ usage: Usage = Usage(), requests: Int = 0, requestID: String? = nil
    ) async throws(RateLimitClientError) -> Refund {
        var members = CallMembers(call)
        members.cost = requests == 0 ? nil : requests
        members.take(usage)
        members.requestID = requestID
        members.refund = true
        let request = DaemonRequest(
            method: .post, uri: "/v1/usage", body: members.json, isRepeatable: requestID != nil)
        return try Refund(await send(request))
    }

    /// The body of an answer with status 200; nil for 404.
    private func answer<Answer: Decodable>(
        to request: DaemonRequest, _ type: Answer.Type
    ) async throws(RateLimitClientError) -> Answer? {
        let response = try await send(request)
        return response.status == 404 ? nil : try response.answer(type)
    }
}

// MARK: - Standing

extension RateLimitClient {
    /// How the limit of checks stands for a user; consumes nothing.
    ///
    /// - Throws: ``RateLimitClientError``; ``RateLimitClientError/unavailable(detail:)`` while Redis is away.
    public func status(of user: String) async throws(RateLimitClientError) -> UserStatus {
        let response = try await send(DaemonRequest(method: .get, uri: "/v1/users/\(encoded(user))"))
        return UserStatus(try response.answer(StatusAnswer.self), user: user)
    }

    /// How each limit in force stands for a user; consumes nothing.
    ///
    /// - Parameters:
    ///   - groups: the user's, where the daemon counts those that calls name.
    ///   - model: the one whose windows are told of limits that have one for each.
    /// - Throws: ``RateLimitClientError``; ``RateLimitClientError/unavailable(detail:)`` while Redis is away.
    public func limits(
        of user: String, groups: [String] = [], model: String? = nil
    ) async throws(RateLimitClientError) -> [LimitStanding] {
        let query = groups.map { "group=\(encoded($0))" } + (model.map { ["model=\(encoded($0))"] } ?? [])
        let uri = "/v1/users/\(encoded(user))/usage" + (query.isEmpty ? "" : "?\(query.joined(separator: "&"))")
        let response = try await send(DaemonRequest(method: .get, uri: uri))
        return try response.answer(UsageAnswer.self).limits.map { LimitStanding($0) }
    }
}
