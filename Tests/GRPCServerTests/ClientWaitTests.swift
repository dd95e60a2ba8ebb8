import NIOCore
import NIOEmbedded
import PrometheusMetrics
import Testing

@testable import GRPCServer

@Suite("What a gRPC connection waits for")
struct ClientWaitTests {
    @Test(
        "ends it where nothing more has happened between two looks, and not where something has",
        arguments: [
            (ClientWait(), ClientWait(), false, nil),
            // What began after the first look has the time to the next.
            (ClientWait(), ClientWait(arrivingAfter: 3, writingAfter: 7), false, nil),
            (ClientWait(arrivingAfter: 3), ClientWait(arrivingAfter: 3), false, .incomplete),
            (ClientWait(arrivingAfter: 3), ClientWait(arrivingAfter: 4), false, nil),
            (ClientWait(arrivingAfter: 3), ClientWait(), false, nil),
            (ClientWait(writingAfter: 0), ClientWait(writingAfter: 0), false, .unread),
            (ClientWait(writingAfter: 0), ClientWait(writingAfter: 1), false, nil),
            (ClientWait(writingAfter: 0), ClientWait(), false, nil),
            (
                ClientWait(arrivingAfter: 3, writingAfter: 7), ClientWait(arrivingAfter: 3, writingAfter: 7), false,
                .unread
            ),
            (ClientWait(isOver: true), ClientWait(isOver: true), false, .unread),
            (ClientWait(), ClientWait(), true, .unread),
            (ClientWait(arrivingAfter: 3), ClientWait(arrivingAfter: 4), true, .unread),
        ] as [(ClientWait, ClientWait, Bool, ConnectionEndReason?)])
    func ends(_ before: ClientWait, _ now: ClientWait, _ hasUnsentAnswers: Bool, _ reason: ConnectionEndReason?) {
        #expect(before.end(at: now, hasUnsentAnswers: hasUnsentAnswers) == reason)
    }
}

@Suite("A client of gRPC that does not take its answers")
struct UnreadAnswerTests {
    @Test("has one to two request timeouts to open a window, is told then, and loses its connection")
    func window() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            client.send(Frame.preface + Frame.settings([(4, 0)]).bytes)
            client.call(1)
            client.advance(by: .milliseconds(4_900))
            // Answered after the timer was set: it may wait until the next.
            client.call(3)
            client.send(.windowUpdate(1, 100))
            #expect(client.answer(1).code == 0)
            client.advance(by: .seconds(5))
            #expect(!client.isClosed)
            client.advance(by: .milliseconds(5_000))
            #expect(client.goAway == 11 && client.isClosed)
            #expect(server.loop.connections.isEmpty)
        }
    }

    @Test("loses it also where it opens a window by a byte at a time")
    func drippingWindow() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            client.send(Frame.preface + Frame.settings([(4, 0)]).bytes)
            client.call(1, message: Array(repeating: 7, count: 1_000))
            var seconds = 0
            while !client.isClosed, seconds < 100 {
                client.send(.windowUpdate(1, 1))
                client.advance(by: .seconds(1))
                seconds += 1
            }
            #expect(seconds <= 10)
            #expect(client.frames.contains { $0.kind == .data })
        }
    }

    @Test("keeps it where it takes each of them in time, one behind the other for hours")
    func slowReader() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            client.send(Frame.preface + Frame.settings([(4, 0)]).bytes)
            var stream: Int32 = 1
            client.call(stream)
            for _ in 0..<2_000 {
                client.advance(by: .milliseconds(4_900))
                // There is always one that waits.
                client.call(stream + 2)
                client.send(.windowUpdate(stream, 100))
                #expect(client.answer(stream).code == 0)
                stream += 2
            }
            #expect(!client.isClosed)
            client.send(.windowUpdate(stream, 100))
            client.advance(by: .hours(5))
            #expect(!client.isClosed && !client.isWaitedFor)
        }
    }

    @Test("may watch health for as long as it likes, and not let lie what it is told there")
    func watch() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            client.send(Frame.preface + Frame.settings([(4, 7)]).bytes)
            client.send(.headers(1, EmbeddedClient.call(ServingHealth.watchPath)), .data(1, framed([]), ends: false))
            #expect(client.answer(1).message == [8, 1])
            client.advance(by: .hours(5))
            #expect(!client.isClosed)
            server.loop.methods.health?.isDraining = true
            server.loop.flush()
            client.advance(by: .seconds(4))
            client.send(.windowUpdate(1, 7))
            #expect(client.answer(1).message.suffix(2) == [8, 2])
            client.advance(by: .hours(5))
            #expect(!client.isClosed)
            server.loop.methods.health?.isDraining = false
            server.loop.flush()
            client.advance(by: .seconds(11))
            #expect(client.goAway == 11 && client.isClosed)
        }
    }
}

@Suite("The metrics of gRPC connections")
struct GRPCMetricsTests {
    private static let catalogue: [MetricDescription] = [
        .init(name: GRPCMetrics.Name.connections, help: "Open.", kind: .gauge),
        .init(name: GRPCMetrics.Name.ended, help: "Ended.", kind: .counter),
    ]

    private func value(_ series: String, _ factory: PrometheusMetricsFactory) -> Int? {
        let lines = String(decoding: factory.render(), as: UTF8.self).split(separator: "\n")
        return lines.first { $0.hasPrefix("\(series) ") }?.split(separator: " ").last.flatMap { Int($0) }
    }

    /// Runs what a client does, and expects that its connection has ended for one reason and no other.
    private func expect(
        _ reason: ConnectionEndReason, saysHello: Bool = true,
        isEncrypted: Bool = false, _ body: @escaping @Sendable (EmbeddedGRPC, EmbeddedClient) throws -> Void
    ) async throws {
        let factory = try PrometheusMetricsFactory(catalogue: Self.catalogue)
        try await EmbeddedGRPC.run(metrics: factory) { server in
            let client = EmbeddedClient([], GRPCConnection(loop: server.loop, isEncrypted: isEncrypted))
            if saysHello { client.send(Frame.preface + Frame.settings().bytes) }
            #expect(value(GRPCMetrics.Name.connections, factory) == 1)
            try body(server, client)
            client.close()
        }
        #expect(value(GRPCMetrics.Name.connections, factory) == 0)
        for other in ConnectionEndReason.allCases {
            let ended = value("\(GRPCMetrics.Name.ended){reason=\"\(other.rawValue)\"}", factory)
            #expect(ended == (other == reason ? 1 : 0), "\(reason): \(other)")
        }
    }

    @Test("say why each ended: by its client, by the end, by what did not come or was not taken, by an attack")
    func reasons() async throws {
        try await expect(.client) { _, client in client.call(1) }
        try await expect(.client) { _, client in
            client.send(Frame(kind: .goAway, payload: bigEndian(0) + bigEndian(0)))
            #expect(client.isClosed)
        }
        try await expect(.drain) { server, client in
            server.loop.leave()
            client.advance(by: .seconds(2))
            #expect(client.isClosed)
        }
        try await expect(.incomplete) { _, client in
            client.send([0, 0])
            client.advance(by: .seconds(11))
            #expect(client.isClosed)
        }
        try await expect(.unread) { _, client in
            client.send(.settings([(4, 0)]))
            client.call(1)
            client.advance(by: .seconds(11))
            #expect(client.isClosed)
        }
        try await expect(.flood) { _, client in
            client.send(.headers(1, EmbeddedClient.call()))
            for _ in 0...HTTP2Bounds.emptyDataFrames { client.send(.data(1, [], ends: false)) }
            #expect(client.isClosed)
        }
        try await expect(.flood) { _, client in
            client.send(.headers(1, EmbeddedClient.call(), endsHeaders: false))
            for _ in 0..<20 {
                client.send(Frame(kind: .continuation, stream: 1, payload: Frame.literals([("a", "b")])))
            }
            #expect(client.isClosed)
        }
        // Nobody has agreed on TLS.
        try await expect(.tls, saysHello: false, isEncrypted: true) { _, _ in }
        try await expect(.protocolError) { _, client in
            client.send(.data(7, [1]))
            #expect(client.isClosed)
        }
        try await expect(.protocolError, saysHello: false) { _, client in
            client.send(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
            #expect(client.isClosed)
        }
    }
}
