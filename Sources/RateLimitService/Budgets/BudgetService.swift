package import NIOCore
import RateLimitCore
import RedisClient

/// Changes and reads budgets in Redis, and keeps for each event loop what decisions need of them.
///
/// A change is atomic where it is made: an override and the membership that it needs share a slot and go through one
/// script. With one Redis the same script sets the version, publishes and writes the audit. In a cluster these are
/// elsewhere, and are calls of their own behind the change: version and message in one, then the audit. What can be seen
/// in between: the change is in force for whoever has not looked the subject up before, and others still go by what they
/// remember; the audit does not have it yet. The change counts as made, and is answered, when all three are done, and the
/// second within which all replicas see it begins no earlier. Where the second or third fails, the change is answered
/// with an error, and may be in force; asked for again, it is announced again. Only a daemon that dies between the calls
/// leaves a change that others may not see until the next one, and that the audit never has.
public final class BudgetService: Sendable {
    let commands: BudgetCommands
    private let engines: [NIOLoopBound<CheckEngine>]
    private let readers: [NIOLoopBound<BudgetReader>]
    private let poll: NIOLoopBound<VersionPoll>

    init(
        _ commands: BudgetCommands, _ engines: [NIOLoopBound<CheckEngine>], _ readers: [NIOLoopBound<BudgetReader>],
        _ poll: NIOLoopBound<VersionPoll>
    ) {
        self.commands = commands
        self.engines = engines
        self.readers = readers
        self.poll = poll
    }

    /// Makes what each event loop of the engines needs.
    static func make(
        keyPrefix: String, isCluster: Bool, _ engines: [NIOLoopBound<CheckEngine>], _ notices: LimitNotices
    ) async throws -> BudgetService {
        let keys = BudgetKeys(prefix: keyPrefix)
        let poll = try await engines[0].eventLoop.submit {
            NIOLoopBound(VersionPoll(key: keys.version, engine: engines[0].value), eventLoop: engines[0].eventLoop)
        }.get()
        var readers: [NIOLoopBound<BudgetReader>] = []
        for engine in engines {
            readers.append(
                try await engine.eventLoop.submit {
                    let checks = engine.value
                    let reader = BudgetReader(
                        keys: keys, notices: notices,
                        ask: { [lanes = checks.lanes] in lanes.perform($0, forKey: $1, $2, $3) },
                        refused: { [lanes = checks.lanes] in lanes.lane(forKey: $1)?.wasRefused($0, on: .budgets) },
                        beginPolling: { poll.execute { $0.begin() } }
                    )
                    checks.budgets = reader
                    return NIOLoopBound(reader, eventLoop: engine.eventLoop)
                }.get()
            )
        }
        poll.execute { [readers] poll in
            poll.heard = { version, sentAt in
                for reader in readers { reader.execute { $0.polled(version, sentAt: sentAt) } }
                for engine in engines { engine.execute { $0.polled(version, sentAt: sentAt) } }
            }
            engines[0].value.whenAvailable = { [weak poll] in poll?.askNow() }
        }
        return BudgetService(BudgetCommands(keys: keys, isCluster: isCluster), engines, readers, poll)
    }

    /// Asks for the version from now on, so that denials can be believed for longer than without it.
    func beginPolling() { poll.execute { $0.begin() } }

    /// Asks for the version no more.
    func stop() { poll.execute { $0.stop() } }

    /// The reader of one of the service's event loops.
    ///
    /// - Precondition: called on that loop.
    package func reader(on eventLoop: any EventLoop) -> BudgetReader {
        guard let reader = readers.first(where: { $0.eventLoop === eventLoop }) else {
            preconditionFailure("the event loop is none of this service's")
        }
        return reader.value
    }

    /// Takes the message about a change, here or elsewhere.
    func heard(_ notice: ChangeNotice) {
        for reader in readers { reader.execute { $0.heard(notice) } }
        for engine in engines { engine.execute { $0.heard(notice) } }
    }

    /// Has every event loop forget what a change that was made here concerns, before `promise` is told of it.
    func settle<Value: Sendable>(_ value: Value, _ subject: BudgetSubject, _ promise: EventLoopPromise<Value>) {
        forgetDenials(subject)
        let forgotten = readers.map { reader in reader.eventLoop.submit { reader.value.forget(subject) } }
        EventLoopFuture.andAllComplete(forgotten, on: promise.futureResult.eventLoop).whenComplete { _ in
            promise.succeed(value)
        }
    }

    private func forgetDenials(_ subject: BudgetSubject) {
        let user = ChangeNotice.Change.budget(subject).user
        for engine in engines { engine.execute { $0.forgetDenials(of: user) } }
    }

    func engine(on eventLoop: any EventLoop) -> CheckEngine {
        guard let engine = engines.first(where: { $0.eventLoop === eventLoop }) else {
            preconditionFailure("the event loop is none of this service's")
        }
        return engine.value
    }
}
