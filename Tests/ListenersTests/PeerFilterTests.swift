import CoreMetrics
import Glibc
import Logging
import Testing

@testable import Listeners

@Suite("Who may connect")
struct PeerFilterTests {
    private func filter(_ allowed: Set<UInt32>?) -> PeerFilter {
        PeerFilter(
            allowed: allowed, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            factory: NOOPMetricsHandler.instance)
    }

    /// Two connected Unix sockets, both of this process.
    private func withPair(_ body: (CInt) throws -> Void) throws {
        var pair: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        defer { for descriptor in pair { close(descriptor) } }
        try body(pair[0])
    }

    @Test("is everybody where nobody is named, and else who is named")
    func users() throws {
        let own = geteuid()
        try withPair { socket in
            #expect(filter(nil).rejection(of: socket) == nil)
            #expect(filter([own]).rejection(of: socket) == nil)
            #expect(filter([own + 1]).rejection(of: socket) == RejectedPeer(user: own))
            #expect(filter([]).rejection(of: socket) == RejectedPeer(user: own))
        }
    }

    @Test("is nobody whom the kernel does not name, where some are named")
    func unknown() {
        #expect(filter(nil).rejection(of: nil) == nil)
        #expect(filter([geteuid()]).rejection(of: nil) == RejectedPeer(user: nil))
    }

    @Test("Only so many who are refused wait for their answer at a time")
    func waiting() {
        let filter = filter([])
        for _ in 0..<PeerFilter.waitingLimit { #expect(filter.beginWaiting()) }
        #expect(!filter.beginWaiting())
        filter.endWaiting()
        #expect(filter.beginWaiting())
    }
}
