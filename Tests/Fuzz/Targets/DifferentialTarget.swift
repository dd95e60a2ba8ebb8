import NIOCore
import NIOPosix

@testable import Gateway

#if canImport(GatewayTests)
    @testable import GatewayTests
#endif

/// The fast path and NIOHTTP1 answer the same bytes with the same bytes, in whatever parts they arrive and whatever limits
/// there are.
func fuzzDifferential(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (seed, rest) = bytes.headAndRest
    let parts = cuts(rest, seed: seed).map { Array($0) }
    let comparisons: [GatewayPair.Comparison]
    do {
        let pairs = try FuzzedGateways.pairs.get()
        comparisons = try pairs[0].eventLoop.submit { pairs.map { $0.compare(parts) } }.wait()
    } catch {
        throw FuzzFinding(description: "no gateways: \(error)")
    }
    for comparison in comparisons where comparison != .same && comparison != .refusedEarlier {
        throw FuzzFinding(description: "\(comparison)")
    }
}

/// Two gateways for all inputs without limits of a file, and two with some. Nobody is ever denied by them: how long a denied user has to wait depends on when each
/// of the two was asked.
private enum FuzzedGateways {
    static let pairs = Result<[GatewayPair], any Error> {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        return try eventLoop.makeFutureWithTask {
            let quota = 1_000_000_000_000
            return [
                try await GatewayPair(quota: quota, eventLoop: eventLoop),
                try await GatewayPair(quota: quota, limits: fuzzedLimits, eventLoop: eventLoop),
            ]
        }.wait()
    }
}
