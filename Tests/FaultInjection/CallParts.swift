package import HistoryChecker

/// How a call reads in the history of one of the subjects whose limits it fell under.
///
/// On one Redis all of a call happens at one instant. In a cluster the limits of a user, a group and of all are in
/// different slots, and a call over several is decided in each by itself: what it asks is reserved in each, and settled
/// or released in each when all have answered. So each subject's windows have a history of their own, which is exact.
package struct CallParts {
    /// How long what a check over several slots reserves lives, if nothing ends it.
    package static let checkMicroseconds = 5_000_000

    private let isSplit: Bool
    private let name: String

    /// - Parameters:
    ///   - isSplit: whether the call was decided in several slots.
    ///   - name: an id that nothing else has, for the reservation of a check.
    package init(isSplit: Bool, name: String) {
        self.isSplit = isSplit
        self.name = name
    }

    /// - Parameter call: what the client saw of the whole call, with the terms of one subject.
    package func parts(of call: CallOperation) -> [CallOperation] {
        guard isSplit else { return [call] }
        switch call.action {
        case .check: return checkParts(call)
        case .reserve:
            if call.outcome == .done || isDenied(call) { return [call] }
            return [perhaps(call, as: call.action), perhaps(call, as: .release)]
        case .renew, .settle, .release, .usage:
            // Another slot may have said so, while this one did it.
            if call.outcome == .done || call.outcome == .unknown { return [call] }
            var part = perhaps(call, as: call.action)
            part.id = call.id
            return [part]
        case .look, .reset, .flush: return [call]
        }
    }

    private func checkParts(_ call: CallOperation) -> [CallOperation] {
        let reserving = CallOperation.Action.reserve(microseconds: Self.checkMicroseconds)
        switch call.outcome {
        case .done:
            var reserve = call
            reserve.action = reserving
            reserve.id = name
            return [reserve, perhaps(call, as: .settle)]
        case .denied where isDenied(call): return [call]
        case .denied: return [perhaps(call, as: reserving), perhaps(call, as: .release)]
        case .unknown, .repeated, .noLease:
            return [reserving, .settle, .release].map { perhaps(call, as: $0) }
        }
    }

    /// Whether this subject's limits denied it. Else it was reserved here, and is released.
    private func isDenied(_ call: CallOperation) -> Bool {
        call.terms.contains { $0.standing?.isDenied == true }
    }

    /// A part that perhaps took place, of what the call itself is about.
    private func perhaps(_ call: CallOperation, as action: CallOperation.Action) -> CallOperation {
        var part = call
        part.action = action
        part.id = name
        part.outcome = .unknown
        part.terms = action == .release ? [] : call.terms
        for index in part.terms.indices { part.terms[index].standing = nil }
        return part
    }
}
