/// A call that was let through with what it may come to held for it, while it is under way.
public struct Reservation: Sendable {
    /// What was asked.
    public let call: Call
    /// The answer. It has no lease where nobody could decide.
    public let decision: Decision
    private(set) var usage: Usage?
    private(set) var model: String?

    init(call: Call, decision: Decision) {
        self.call = call
        self.decision = decision
    }

    /// Tells what the call came to, which is charged at the end. The last report counts.
    ///
    /// - Parameter model: the one that answered, where it is another than was asked for.
    public mutating func report(_ usage: Usage, model: String? = nil) {
        self.usage = usage
        self.model = model
    }
}

/// What became of a call that asked for a reservation.
public enum Reserved<Value> {
    /// It may not go on, and did not.
    case denied(Decision)
    /// It went on, and gave this.
    case done(Value, Charging)
}

/// How what the call came to was charged.
public enum Charging: Hashable, Sendable {
    /// The daemon has it.
    case settled(Settlement)
    /// The daemon does not have it, as far as is known. ``RateLimitClient/settle(_:_:model:)`` may send it again,
    /// however often; else the lease lapses, and nothing is charged.
    case unsettled(Lease, Usage, RateLimitClientError)
    /// Nothing was held, since nobody could decide, and nothing could be charged or was reported.
    case unreserved
}

extension Reserved: Sendable where Value: Sendable {}

extension RateLimitClient {
    /// Reserves what a call may come to, makes the call where it may go on, and charges what it came to.
    ///
    /// - What `body` reports is charged, whether it returns or throws: it has been spent.
    /// - Where it throws an error and has reported nothing, all is given back: the call failed.
    /// - Where it returns without a report, and where it was cancelled, the estimate is charged: who hangs up pays.
    /// - Where the daemon could not be asked, the call is made all the same, and what it reports is charged if the daemon is
    ///   back by then.
    ///
    /// A call that lasts longer than its lease is charged all the same, but what was held is free before.
    ///
    /// - Parameters:
    ///   - timeToLiveSeconds: after which the lease lapses, from 1 to 86,400; nil for the daemon's own.
    ///   - body: makes the call. It is not run in a denial.
    /// - Throws: what `body` throws, and ``RateLimitClientError/refused(status:detail:)`` where the daemon does not accept
    ///   the call.
    public func reserve<Value>(
        _ call: Call, timeToLiveSeconds: Int? = nil, isolation: isolated (any Actor)? = #isolation,
        _ body: (inout Reservation) async throws -> Value
    ) async throws -> Reserved<Value> {
        let decision = try await takeLease(call, timeToLiveSeconds: timeToLiveSeconds)
        guard decision.isAllowed else { return .denied(decision) }
        var reservation = Reservation(call: call, decision: decision)
        do {
            let value = try await body(&reservation)
            return .done(value, await charge(reservation))
        } catch {
            if reservation.usage != nil || error is CancellationError {
                _ = await charge(reservation)
            } else if let lease = decision.lease {
                // Where it does not arrive the lease lapses, which comes to the same.
                _ = try? await release(lease)
            }
            throw error
        }
    }

    /// Charges what was reported, or else what was held.
    private func charge(_ reservation: Reservation) async -> Charging {
        guard let lease = reservation.decision.lease else { return await chargeUnreserved(reservation) }
        let usage = reservation.usage ?? lease.estimate
        do throws(RateLimitClientError) {
            return .settled(try await settle(lease, usage, model: reservation.model))
        } catch {
            return .unsettled(lease, usage, error)
        }
    }

    private func chargeUnreserved(_ reservation: Reservation) async -> Charging {
        guard let usage = reservation.usage else { return .unreserved }
        var call = reservation.call
        if let model = reservation.model { call.model = model }
        let settlement = try? await self.usage(of: call, usage)
        return settlement.map { .settled($0) } ?? .unreserved
    }
}
