import NIOCore
import TestSupport
import Testing

@testable import Gateway

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
    private static func compare(_ seeds: Range<UInt64>, _ gateways: GatewayPair) -> Tally {
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

    @Test("answer the same request with the same bytes, ordinary or broken", arguments: 0..<2)
    func sameAnswers(_ part: UInt64) async throws {
        let seeds = part * 2_500..<(part + 1) * 2_500
        let tally = try await withEventLoop { eventLoop in
            let gateways = try await GatewayPair(eventLoop: eventLoop)
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

    @Test("answer a request that is cut at any byte as they answer it whole", arguments: [true, false])
    func cut(_ usesFastPath: Bool) async throws {
        let requests = [
            post(["Host: a", "Content-Type: application/json"]), get(["Host: a"]),
            post(["Host: a", "Transfer-Encoding: chunked"]).replacing("Content-Length: 56\r\n", "")
                .replacing("\r\n\r\n", "\r\n\r\n38\r\n") + "\r\n0\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", post(["Host: a"], "{}"), post(["Host: a", "X: é"]),
        ]
        let wrong = try await onEventLoop(quota: 1_000_000) { gateway in
            var wrong: [String] = []
            for request in requests {
                let bytes = Array(request.utf8)
                for count in 1..<bytes.count {
                    let connection = gateway.connect(usesFastPath: usesFastPath)
                    connection.send(bytes[..<count])
                    let early = connection.text
                    connection.send(bytes[count...])
                    connection.send(Array("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
                    let statuses = connection.text.components("HTTP/1.1 ").dropFirst().map { $0.prefix(3) }
                    let expected = request.contains("{}") ? "400" : "200"
                    if !early.isEmpty || statuses != [expected[...], "200"] {
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
