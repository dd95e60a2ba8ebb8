import NIOCore
import RateLimitCore
import Synchronization

/// When this daemon last gave something back to a window, for all its event loops: what was denied before that may pass.
///
/// Windows share places, by the hash of their keys: where another one has been given something back, a denial is asked for
/// once more. So it needs no more memory for more windows.
final class RefundTimes: Sendable {
    /// How many places there are; a power of two.
    static let places = 4_096

    /// When something was last given back to any window: most denials are looked up with no refund since.
    private let latest = Atomic<UInt64>(0)
    private let times: InlineArray<4_096, Atomic<UInt64>>

    /// Nothing has been given back yet.
    init() { times = InlineArray { _ in Atomic(0) } }

    private static func place(_ window: some Hashable) -> Int { window.hashValue & (places - 1) }

    /// Takes note that a window was given something back at an instant or before.
    func note(_ window: some Hashable, at now: NIODeadline) {
        times[Self.place(window)].max(now.uptimeNanoseconds, ordering: .releasing)
        // Behind its place: whoever sees this one sees that one.
        latest.max(now.uptimeNanoseconds, ordering: .releasing)
    }

    /// Whether nothing has been given back to any of some windows at an instant or behind it.
    @inline(__always)
    func isQuiet(_ windows: @autoclosure () -> some Sequence<some Hashable>, since instant: NIODeadline) -> Bool {
        latest.load(ordering: .acquiring) < instant.uptimeNanoseconds || isQuiet(of: windows(), since: instant)
    }

    @inline(never)
    private func isQuiet(of windows: some Sequence<some Hashable>, since instant: NIODeadline) -> Bool {
        windows.allSatisfy { times[Self.place($0)].load(ordering: .acquiring) < instant.uptimeNanoseconds }
    }
}

/// Whose windows some are, and of which values: what a refund gives something back to.
struct CallWindows: Hashable {
    let owner: WindowOwner
    let values: WindowValues?
}

extension PlannedCall {
    /// Whose windows it meets.
    var windows: some Sequence<CallWindows> {
        plan.subjects.lazy.map { [caller] in CallWindows(owner: caller.owner($0), values: caller.values($0)) }
    }
}
