import NIOCore
import RedisClient

/// Asks for the version of all that the daemons tell each other again and again, for all event loops of the process, once
/// somebody has looked a budget up or where denials are remembered for long. It lives on one of them.
final class VersionPoll {
    /// How often the version is asked for: thrice within ``KnownVersion/patience``, so that one late answer does not end
    /// what is remembered.
    static let interval = TimeAmount.milliseconds(250)

    private let key: String
    private let eventLoop: any EventLoop
    /// Who sends. Not the engine, to which there should be no weak reference: each check would pay for it.
    private let lanes: ScriptLanes
    /// Told the version that Redis had at `sentAt` or later.
    var heard: ((_ version: String, _ sentAt: NIODeadline) -> Void)?
    private var next: Scheduled<Void>?
    private var isStopped = false

    init(key: String, engine: CheckEngine) {
        self.key = key
        eventLoop = engine.eventLoop
        lanes = engine.lanes
    }

    /// Begins to ask; a second call changes nothing.
    func begin() {
        guard next == nil, !isStopped else { return }
        ask()
    }

    func stop() {
        isStopped = true
        next?.cancel()
        heard = nil
    }

    /// Asks at once, besides, where it has begun: Redis has just come back.
    func askNow() { if next != nil { send() } }

    private func ask() {
        guard !isStopped else { return }
        next = eventLoop.assumeIsolated().scheduleTask(in: Self.interval) { [weak self] () -> Void in
            self?.ask()
        }
        send()
    }

    private func send() {
        guard !isStopped else { return }
        let sentAt = NIODeadline.now()
        lanes.perform(["GET", key], forKey: key, .text) { [weak self] result in
            let reply = try? result.get()
            switch reply?.elements.first {
            case .bulk(let range)?: self?.heard?(reply?.text(of: .bulk(range)) ?? "", sentAt)
            case .null?: self?.heard?("-", sentAt)
            default: break
            }
        }
    }
}
