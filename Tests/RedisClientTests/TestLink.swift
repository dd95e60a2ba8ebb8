import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import RedisClient

/// A link on a real event loop, with commands that are numbered, and a record of everything its user is told.
final class TestLink: Sendable {
    enum Event: Hashable, Sendable {
        case available
        case unavailable(LinkFailure)
        case setup(Int, String)
        case reply(Int, String)
        case lost(Int, LinkFailure)
        case pushed(String)
    }

    private let eventLoop: any EventLoop
    private let user: NIOLoopBound<LinkUser>
    private let log: EventLog

    /// What the user was told so far, in order.
    var events: [Event] { log.events.withLock { $0.map(\.event) } }

    /// When the user was told of an event first. Measured where it happens: a test may wait long for its turn to look.
    func instant(of event: Event) -> NIODeadline? { log.events.withLock { $0.first { $0.event == event }?.at } }

    init(
        _ socketPath: String, user: String? = nil, password: String? = nil, database: Int = 0,
        options: LinkOptions = .patient(), acceptsSetup: Bool = true
    ) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let log = EventLog()
        let endpoint = RedisEndpoint(
            address: .unix(path: socketPath), user: user, password: password.map { Secret($0) }, database: database
        )
        self.eventLoop = eventLoop
        self.log = log
        self.user = try await eventLoop.submit {
            let link = RedisLink(endpoint: endpoint, options: options, eventLoop: eventLoop)
            return NIOLoopBound(LinkUser(link: link, log: log, acceptsSetup: acceptsSetup), eventLoop: eventLoop)
        }.get()
    }

    func start() async throws { try await eventLoop.submit { self.user.value.link.start() }.get() }

    func stop() async throws { try await eventLoop.submit { self.user.value.link.stop() }.get() }

    /// Starts the link and waits until it can be used.
    func startAndWait() async throws {
        try await start()
        try #require(await eventually { $0.contains(.available) }, "\(events)")
    }

    /// Lays out commands, numbered from `first` on, in one turn of the loop and flushes once.
    func send(_ commands: [[String]], from first: Int = 0, within deadline: TimeAmount = .seconds(20)) async throws {
        try await send(commands.map { ($0, deadline) }, from: first)
    }

    /// The same, each with a deadline of its own.
    func send(_ commands: [(words: [String], deadline: TimeAmount)], from first: Int = 0) async throws {
        try await eventLoop.submit {
            let user = self.user.value
            for (index, command) in commands.enumerated() {
                user.link.outbound.writeRESPCommand(command.words)
                user.sent.append(first + index)
                user.link.sent(deadline: .now() + command.deadline)
            }
            user.link.flush()
        }.get()
    }

    var commandsInFlight: Int {
        get async throws { try await eventLoop.submit { self.user.value.link.commandsInFlight }.get() }
    }

    /// Waits until `condition` holds for what the user was told, for some seconds at most.
    func eventually(_ condition: ([Event]) -> Bool) async -> Bool {
        for _ in 0..<10_000 {
            if condition(events) { return true }
            try? await Task.sleep(for: .milliseconds(1))
        }
        return false
    }
}

extension LinkOptions {
    /// A link that a busy machine does not make unavailable: for tests in which nothing is late on purpose.
    static func patient(
        setup: [[String]] = [], isSubscriber: Bool = false, connectTimeout: TimeAmount = .seconds(10)
    ) -> LinkOptions {
        LinkOptions(
            setup: setup, isSubscriber: isSubscriber, probeTimeout: .seconds(10), connectTimeout: connectTimeout
        )
    }
}

extension [TestLink.Event] {
    /// What became of the command of this number.
    func ends(of number: Int) -> [TestLink.Event] {
        filter { event in
            switch event {
            case .reply(number, _), .lost(number, _): true
            default: false
            }
        }
    }

    /// The changes of availability.
    var changes: [TestLink.Event] {
        filter { event in
            switch event {
            case .available, .unavailable: true
            default: false
            }
        }
    }

    /// Whether the link became available again after it had been unavailable.
    var isBack: Bool { changes.count(where: { $0 == .available }) > 1 && changes.last == .available }
}

final class EventLog: Sendable {
    let events = Mutex<[(event: TestLink.Event, at: NIODeadline)]>([])
}

/// Keeps the link, and writes down what it is told.
final class LinkUser: RedisLinkDelegate {
    let link: RedisLink
    /// The numbers of the commands that have not ended, in the order in which they were sent.
    var sent: [Int] = []
    private let log: EventLog
    private let acceptsSetup: Bool

    init(link: RedisLink, log: EventLog, acceptsSetup: Bool) {
        self.link = link
        self.log = log
        self.acceptsSetup = acceptsSetup
        link.delegate = self
    }

    deinit { link.delegate = nil }

    private func note(_ event: TestLink.Event) { log.events.withLock { $0.append((event, .now())) } }

    func linkDidChange(_ availability: LinkAvailability) {
        switch availability {
        case .available: note(.available)
        case .unavailable(let failure): note(.unavailable(failure))
        }
    }

    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool {
        note(.setup(step, describe(reply)))
        return acceptsSetup
    }

    func received(_ reply: Reply) { note(.reply(sent.removeFirst(), describe(reply))) }

    func lost(because failure: LinkFailure) { note(.lost(sent.removeFirst(), failure)) }

    func pushed(_ reply: Reply) { note(.pushed(describe(reply))) }

    func repliesDelivered() {}
}
