import NIOCore
import TestSupport
import Testing

@testable import RedisClient

/// The machine with milliseconds for the clock, and what it says in words. Keeps what its user keeps, the commands that
/// have not ended, and what Redis has still to answer.
private final class Machine {
    private var machine = LinkStateMachine()
    private var notEnded: [String] = []
    private var unanswered: [String] = []

    var count: Int { machine.count }
    var hasAbandoned: Bool { machine.hasAbandoned }

    var nextDeadline: Int? {
        machine.nextDeadline.map { Int($0.uptimeNanoseconds / 1_000_000) }
    }

    func command(_ name: String, due: Int) {
        notEnded.append(name)
        send(.command, name, due)
    }

    func setup(_ step: Int, due: Int) { send(.setup(step), "setup \(step)", due) }

    func probe(due: Int) { send(.probe, "probe", due) }

    private func send(_ purpose: LinkStateMachine.Purpose, _ name: String, _ due: Int) {
        unanswered.append(name)
        machine.sent(purpose, deadline: Self.instant(due))
    }

    /// What becomes of the reply that Redis gives next.
    func received() -> String {
        let name = unanswered.isEmpty ? "nothing" : unanswered.removeFirst()
        switch machine.received() {
        case .setup(let step): return "setup \(step)"
        case .probe: return "probe"
        case .deliver:
            #expect(notEnded.removeFirst() == name, "a reply was taken for another command's")
            return "deliver \(name)"
        case .discard(let isLast): return isLast ? "discard, last" : "discard"
        case .unmatched: return "unmatched"
        }
    }

    func expire(_ now: Int) -> String? { machine.expire(now: Self.instant(now)).map(words) }

    func drain() -> String? {
        if !unanswered.isEmpty { unanswered.removeFirst() }
        return machine.drain().map(words)
    }

    private func words(_ purpose: LinkStateMachine.Purpose) -> String {
        switch purpose {
        case .setup(let step): "setup \(step)"
        case .probe: "probe"
        case .command: notEnded.removeFirst()
        case .abandoned: "abandoned"
        }
    }

    private static func instant(_ milliseconds: Int) -> NIODeadline {
        .uptimeNanoseconds(UInt64(milliseconds) * 1_000_000)
    }
}

@Suite("What a link waits for")
struct LinkStateMachineTests {
    private let machine = Machine()

    @Test("replies belong to the commands in their order")
    func order() {
        machine.setup(0, due: 10)
        machine.setup(1, due: 10)
        machine.probe(due: 10)
        machine.command("a", due: 20)
        machine.command("b", due: 21)
        #expect(machine.count == 5)
        let actions = (0..<5).map { _ in machine.received() }
        #expect(actions == ["setup 0", "setup 1", "probe", "deliver a", "deliver b"])
        #expect(machine.count == 0)
    }

    @Test("a reply that nothing asked for is unmatched")
    func unmatched() {
        #expect(machine.received() == "unmatched")
        machine.command("a", due: 1)
        #expect(machine.received() == "deliver a")
        #expect(machine.received() == "unmatched")
    }

    @Test("nothing expires before its deadline, and at its deadline it does, once")
    func expire() {
        machine.command("a", due: 10)
        machine.command("b", due: 11)
        #expect(machine.expire(9) == nil)
        #expect(machine.expire(10) == "a")
        #expect(machine.expire(10) == nil)
        #expect(machine.expire(50) == "b")
        #expect(machine.expire(50) == nil)
        #expect(machine.count == 2)
    }

    @Test("the reply of a command given up is discarded and not taken for another's")
    func abandoned() {
        machine.command("a", due: 10)
        machine.command("b", due: 100)
        #expect(machine.expire(10) == "a")
        #expect(machine.hasAbandoned)
        #expect(machine.received() == "discard")
        #expect(!machine.hasAbandoned)
        #expect(machine.received() == "deliver b")
    }

    @Test("the last reply owed to commands given up says so")
    func lastDiscarded() {
        for name in ["a", "b", "c"] { machine.command(name, due: 10) }
        for name in ["a", "b", "c"] { #expect(machine.expire(10) == name) }
        #expect(machine.received() == "discard")
        #expect(machine.received() == "discard")
        #expect(machine.hasAbandoned)
        #expect(machine.received() == "discard, last")
        #expect(!machine.hasAbandoned)
        #expect(machine.received() == "unmatched")
    }

    @Test("the next deadline is that of the oldest command still waited for")
    func nextDeadline() {
        #expect(machine.nextDeadline == nil)
        machine.command("a", due: 10)
        machine.command("b", due: 20)
        #expect(machine.nextDeadline == 10)
        #expect(machine.expire(10) == "a")
        #expect(machine.nextDeadline == 20)
        #expect(machine.expire(20) == "b")
        #expect(machine.nextDeadline == nil)
        machine.probe(due: 30)
        #expect(machine.nextDeadline == 30)
        #expect(machine.received() == "discard")
        #expect(machine.nextDeadline == 30)
        #expect(machine.received() == "discard")
        #expect(machine.received() == "probe")
        #expect(machine.nextDeadline == nil)
    }

    @Test("draining gives each command once, in order, and leaves nothing")
    func drain() {
        for name in ["a", "b", "c"] { machine.command(name, due: 10) }
        #expect(machine.expire(10) == "a")
        #expect(machine.drain() == "abandoned")
        #expect(machine.drain() == "b")
        #expect(machine.drain() == "c")
        #expect(machine.drain() == nil)
        #expect(!machine.hasAbandoned)
        #expect(machine.nextDeadline == nil)
        machine.command("d", due: 5)
        #expect(machine.nextDeadline == 5)
        #expect(machine.received() == "deliver d")
    }

    @Test("every command is told exactly once, whatever happens to it")
    func exactlyOnce() {
        for seed in UInt64(0)..<300 {
            var random = SeededGenerator(seed: seed)
            let machine = Machine()
            var told: [String] = []
            var now = 0
            var sent = 0
            for _ in 0..<400 {
                switch Int.random(in: 0..<10, using: &random) {
                case 0...3:
                    machine.command("\(sent)", due: now + 5)
                    sent += 1
                case 4...6 where machine.count > 0:
                    let action = machine.received()
                    if action.hasPrefix("deliver ") { told.append(String(action.dropFirst(8))) }
                case 7:
                    now += Int.random(in: 0...6, using: &random)
                    while let name = machine.expire(now) { told.append(name) }
                    if let next = machine.nextDeadline { #expect(next > now) }
                case 8 where Int.random(in: 0..<10, using: &random) == 0:
                    while let name = machine.drain() { if name != "abandoned" { told.append(name) } }
                default: break
                }
            }
            while let name = machine.drain() { if name != "abandoned" { told.append(name) } }
            // Commands expire and are answered oldest first, so the order is kept as well.
            #expect(told == (0..<sent).map { "\($0)" })
        }
    }
}
