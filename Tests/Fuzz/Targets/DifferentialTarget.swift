import NIOCore
import NIOPosix

@testable import HTTPServer

#if canImport(HTTPServerTests)
    @testable import HTTPServerTests
#endif

/// The fast path and NIOHTTP1 answer the same bytes with the same bytes, in whatever parts they arrive and whatever limits
/// there are.
func fuzzDifferential(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (seed, rest) = bytes.headAndRest
    let parts = cuts(rest, seed: seed).map { Array($0) }
    let comparisons: [ServerPair.Comparison]
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
    static let pairs = Result<[ServerPair], any Error> {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        return try eventLoop.makeFutureWithTask {
            let quota = 1_000_000_000_000
            return [
                try await ServerPair(quota: quota, eventLoop: eventLoop),
                try await ServerPair(quota: quota, limits: fuzzedLimits, eventLoop: eventLoop),
            ]
        }.wait()
    }
}
