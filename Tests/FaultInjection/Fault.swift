import TestSupport

/// One kind of fault: how it is done and undone. Add a group of them in a file of its own, and the group to a
/// ``Topology``.
package struct Fault: Sendable {
    /// What a schedule draws for one injection.
    package struct Draw: Hashable, Sendable {
        package var durationMilliseconds: Int
        /// Which of several targets; taken modulo their number.
        package var target: Int
    }

    package let name: String
    /// Whether a process is stopped or a client left waiting by the fault itself, so that answers take as long as it.
    package let holdsAnswers: Bool
    /// Does it, and undoes it: when this returns, everything runs again.
    let inject: @Sendable (Testbed, Draw) throws -> Void

    init(_ name: String, holdsAnswers: Bool = false, _ inject: @escaping @Sendable (Testbed, Draw) throws -> Void) {
        self.name = name
        self.holdsAnswers = holdsAnswers
        self.inject = inject
    }

    /// Those of one Redis that leave each daemon's process alive, whose memory can then be watched.
    package static let daemonsLive = Topology.single.faults.filter { $0.name != "daemon killed -9" }
    /// Not a fault that is survived but one that a run must find: windows are emptied, and the recorder is not told.
    package static let untoldFlush = Fault("untold FLUSHALL") { testbed, _ in
        for _ in 0..<3 {
            for master in try testbed.store.masters() { try master.command("FLUSHALL") }
            pause(milliseconds: 150)
        }
    }
}

/// Which faults come, in which order and for how long: a pure function of the seed.
package struct FaultSchedule: Sendable {
    package struct Entry: Hashable, Sendable {
        /// How long to wait after the one before is over.
        package var pauseMilliseconds: Int
        package var fault: Int
        package var draw: Fault.Draw
    }

    private var random: SeededGenerator
    private let kinds: Int
    private let pauses: ClosedRange<Int>
    private var deck: [Int] = []

    package init(seed: UInt64, kinds: Int, pausesMilliseconds: ClosedRange<Int>) {
        random = SeededGenerator(seed: seed)
        self.kinds = kinds
        pauses = pausesMilliseconds
    }

    /// Each kind comes once before one comes again.
    package mutating func next() -> Entry {
        if deck.isEmpty { deck = (0..<kinds).shuffled(using: &random) }
        return Entry(
            pauseMilliseconds: Int.random(in: pauses, using: &random), fault: deck.removeLast(),
            draw: Fault.Draw(
                durationMilliseconds: Int.random(in: 100...1_500, using: &random),
                target: Int.random(in: 0..<1_000, using: &random)
            )
        )
    }
}
