import NIOCore
import NIOEmbedded
import NIOHTTP1
import RateLimitService
import TestSupport
import Testing

@testable import HTTPServer

@Suite("The two ways into the gateway")
struct DifferentialTests {
    private struct Difference: Sendable {
        var seed: UInt64
        var request: String
        var fast: String
        var other: String
    }

    private struct Tally: Sendable {
        var differences: [Difference] = []
        var taken = 0
        var refusedEarlier = 0
    }

    /// Sends the same bytes, in the same parts, to a connection of each gateway.
    private static func compare(_ seeds: Range<UInt64>, _ gateways: ServerPair) -> Tally {
        var tally = Tally()
        for seed in seeds {
            var generator = RequestGenerator(seed: seed)
            let bytes = generator.connection()
            let comparison = gateways.compare(generator.cuts(bytes)) { answers in
                if answers.contains("\"allowed\":") { tally.taken += 1 }
            }
            switch comparison {
            case .same: break
            case .refusedEarlier: tally.refusedEarlier += 1
            case .different(let fast, let other):
                tally.differences.append(
                    Difference(seed: seed, request: printable(bytes), fast: fast, other: other)
                )
            }
            if tally.differences.count > 4 { break }
        }
        return tally
    }

    @Test(
        "answer the same request with the same bytes, ordinary or broken, whatever limits there are",
        arguments: [false, true])
    func sameAnswers(_ hasLimits: Bool) async throws {
        let limits = hasLimits ? lookingLimits : .none
        let seeds: Range<UInt64> = hasLimits ? 2_500..<5_000 : 0..<2_500
        let tally = try await withEventLoop { eventLoop in
            let gateways = try await ServerPair(limits: limits, eventLoop: eventLoop)
            return try await eventLoop.submit { Self.compare(seeds, gateways) }.get()
        }
        for difference in tally.differences {
            Issue.record(
                "seed \(difference.seed)\n\(difference.request)\nfast:  \(difference.fast)\nother: \(difference.other)"
            )
        }
        // The comparison means something only while many requests are decided and few are left unfinished.
        #expect(tally.taken > seeds.count / 4)
        #expect(tally.refusedEarlier < seeds.count / 50)
    }

    /// What NIOHTTP1 and the routers make of bytes that are one request; nil where they are none, or more than one.
    private static func routed(
        _ bytes: [UInt8], under limits: LimitsInForce
    ) throws -> Result<RoutedRequest, RequestError>? {
        let decoder = EmbeddedChannel(handler: ByteToMessageHandler(HTTPRequestDecoder()))
        defer { _ = try? decoder.finish(acceptAlreadyClosed: true) }
        try decoder.writeInbound(ByteBuffer(bytes: bytes))
        guard case .head(let head) = try decoder.readInbound(as: HTTPServerRequestPart.self) else { return nil }
        var body: [UInt8] = []
        while let part = try decoder.readInbound(as: HTTPServerRequestPart.self) {
            switch part {
            case .head: return nil
            case .body(let part): body += Array(part.readableBytesView)
            case .end:
                let request = Router.Request(
                    head, body, isAdmin: false, limits: limits, checksAreCalls: !limits.isEmpty)
                return result { () throws(RequestError) in try Router.route(request) }
            }
        }
        return nil
    }

    @Test(
        "read the same call from the same bytes, and what cannot be used is left to one of them",
        arguments: [false, true])
    func sameCalls(_ hasLimits: Bool) throws {
        let limits = hasLimits ? lookingLimits : .none
        var taken: [CallRoute: Int] = [:]
        var left = 0
        for seed in 0..<6_000 as Range<UInt64> {
            var generator = RequestGenerator(seed: seed)
            let bytes = generator.connection()
            var known = RequestTemplate()
            let (recognition, call) = bytes.withUnsafeBytes { bytes in
                let recognition = FastPath.recognise(bytes, after: &known, checksAreCalls: hasLimits)
                guard case .call(let route, let isVerbose, let body) = recognition else {
                    return (recognition, RoutedCall?.none)
                }
                let call = FastPath.read(
                    route, isVerbose: isVerbose, body: body, of: bytes, under: limits, remembering: &known)
                return (recognition, call)
            }
            guard case .call(let route, _, let body) = recognition else { continue }
            let routed = try #require(try Self.routed(Array(bytes[..<body.upperBound]), under: limits))
            if let call {
                taken[route, default: 0] += 1
                #expect(routed == .success(.call(call)), "seed \(seed): \(printable(bytes))")
            } else {
                left += 1
                guard case .failure = routed else {
                    Issue.record("seed \(seed) is left, and read: \(printable(bytes))")
                    continue
                }
            }
        }
        // The comparison means something only while each route is taken often.
        let routes = CallRoute.allCases.filter { $0 != .check || hasLimits }
        #expect(routes.allSatisfy { taken[$0, default: 0] > 30 } && left > 200, "\(taken), \(left)")
    }

    private static func withoutNumbers(_ text: String) -> String {
        text.replacing(/[0-9]+(?=[,}\r])/, with: "0")
    }

    @Test("answer a request that is cut at any byte as they answer it whole", arguments: [true, false])
    func cut(_ usesFastPath: Bool) async throws {
        let requests = [
            post(["Host: a", "Content-Type: application/json"]), get(["Host: a"]),
            post(["Host: a", "Transfer-Encoding: chunked"]).replacing("Content-Length: 56\r\n", "")
                .replacing("\r\n\r\n", "\r\n\r\n38\r\n") + "\r\n0\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", post(["Host: a"], "{}"), post(["Host: a", "X: é"]),
            post(
                ["Host: a"], #"{"user":"\#(someText)","labels":{"team":"\u0078"},"input_tokens":5}"#, to: "/v1/reserve"),
            post(["Host: a"], #"{"user":"\#(someText)","usage":{"prompt_tokens":5}}"#, to: "/v1/usage?verbose=1"),
            post(["Host: a"], #"{"lease":"x","model":null}"#, to: "/v1/settle"),
        ]
        let wrong = try await onEventLoop(quota: 1_000_000) { gateway in
            var wrong: [String] = []
            for request in requests {
                let bytes = Array(request.utf8)
                let whole = gateway.connect(usesFastPath: usesFastPath)
                whole.send(bytes)
                let expected = whole.text
                whole.close()
                for count in 1..<bytes.count {
                    let connection = gateway.connect(usesFastPath: usesFastPath)
                    connection.send(bytes[..<count])
                    let early = connection.text
                    connection.send(bytes[count...])
                    let answer = connection.text
                    connection.send(Array("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
                    let isAlive = connection.text.hasPrefix(answer) && connection.text.hasSuffix("alive\"}")
                    // The next check leaves less than the one before, and is the same in all else.
                    if !early.isEmpty || !isAlive || Self.withoutNumbers(answer) != Self.withoutNumbers(expected) {
                        wrong.append("cut at \(count): \(printable(bytes)) gave \(printable(connection.text.utf8))")
                    }
                    connection.close()
                }
            }
            return wrong
        }
        #expect(wrong == [])
    }
}
