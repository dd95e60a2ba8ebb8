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

    private let times: InlineArray<4_096, Atomic<UInt64>>

    /// Nothing has been given back yet.
    init() { times = InlineArray { _ in Atomic(0) } }

    private static func place(_ key: DescriptorKey) -> Int { key.hashValue & (places - 1) }

    /// Takes note that a window was given something back at an instant or before.
    func note(_ key: DescriptorKey, at now: NIODeadline) {
        times[Self.place(key)].max(now.uptimeNanoseconds, ordering: .releasing)
    }

    /// Behind which instant nothing has been given back to a window.
    func latest(of key: DescriptorKey) -> NIODeadline {
        .uptimeNanoseconds(times[Self.place(key)].load(ordering: .acquiring))
    }
}
