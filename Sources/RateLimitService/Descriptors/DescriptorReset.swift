public import NIOCore
public import RateLimitCore
import RedisClient

/// The window of a descriptor that is to begin anew.
public struct DescriptorReset: Hashable, Sendable {
    /// The domain in which the descriptor is looked up.
    public var domain: String
    /// Its entries, as a proxy says them.
    public var entries: [DescriptorEntry]

    /// Names a window.
    public init(_ entries: [DescriptorEntry], in domain: String) {
        self.domain = domain
        self.entries = entries
    }
}

/// Why a descriptor's window did not begin anew.
public enum DescriptorResetError: Error, Hashable, Sendable {
    /// Redis did not answer, or answered with an error.
    case redis(FailureReason)
    /// The descriptor meets no limit that counts in a window.
    case noLimit
}

extension CheckService {
    /// Lets the window begin anew that a descriptor counts in under the limits in force; every replica forgets all denials.
    /// A window of a quota that a proxy gave with its calls is another one.
    public func reset(
        _ reset: DescriptorReset, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<Void, DescriptorResetError>> {
        let matches = policy.descriptors.matches([Descriptor(reset.entries)], in: reset.domain)
        guard let key = matches.first?.key else { return eventLoop.makeSucceededFuture(.failure(.noLimit)) }
        localWindows.reset(key)
        let promise = eventLoop.makePromise(of: Result<Void, DescriptorResetError>.self)
        let engine = engine(on: eventLoop)
        engine.reset(key) { [budgets, engines] failure in
            if let failure { return promise.succeed(.failure(.redis(failure))) }
            // Only now, as a user's: in a cluster the two may go to two nodes. Whose denials these are no message says, so
            // that daemons of an earlier version take it too: all are forgotten.
            budgets.announce(.denials(.denials(.global)), on: engine) { failure in
                for engine in engines { engine.execute { $0.forgetDenials(of: nil) } }
                promise.succeed(failure.map { .failure(.redis($0)) } ?? .success(()))
            }
        }
        return promise.futureResult
    }
}

extension CheckEngine {
    /// Forgets a descriptor's window in Redis; `done` is told why that failed, where it did.
    fileprivate func reset(_ key: DescriptorKey, _ done: @escaping (FailureReason?) -> Void) {
        let name = Array("\(keyPrefix):\(key.text)".utf8)
        reset(DecisionCall(.reset, subjects: [SubjectTerms(key: name, terms: [])]), done)
    }
}
