import NIOCore
import NIOPosix

@testable import Gateway

#if canImport(GatewayTests)
    @testable import GatewayTests
#endif

/// The fast path and NIOHTTP1 answer the same bytes with the same bytes, in whatever parts they arrive.
func fuzzDifferential(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (seed, rest) = bytes.headAndRest
    let parts = cuts(rest, seed: seed).map { Array($0) }
    let comparison: GatewayPair.Comparison
    do {
        let pair = try FuzzedGateways.pair.get()
        comparison = try pair.eventLoop.submit { pair.compare(parts) }.wait()
    } catch {
        throw FuzzFinding(description: "no gateways: \(error)")
    }
    guard comparison != .same, comparison != .refusedEarlier else { return }
    throw FuzzFinding(description: "\(comparison)")
}

/// Two gateways for all inputs. Nobody is ever denied by them: how long a denied user has to wait depends on when each
/// of the two was asked.
private enum FuzzedGateways {
    static let pair = Result<GatewayPair, any Error> {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        return try eventLoop.makeFutureWithTask {
            try await GatewayPair(quota: 1_000_000_000_000, eventLoop: eventLoop)
        }.wait()
    }
}
