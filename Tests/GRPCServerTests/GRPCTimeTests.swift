import NIOCore
import Testing

@testable import GRPCServer

@Suite("Time on a gRPC connection")
struct GRPCTimeTests {
    @Test("leaves a client alone that asks nothing, and closes one that never says hello")
    func idle() async throws {
        try await EmbeddedGRPC.run { server in
            let idle = server.connect()
            defer { idle.close() }
            idle.call(1)
            idle.advance(by: .hours(5))
            #expect(!idle.isClosed)
            idle.call(3)
            #expect(idle.answer(3).code == 0)
            for hello in [[], Array(Frame.preface.prefix(10)), Frame.preface + [0, 0]] {
                let silent = server.connect(saysHello: false)
                silent.send(hello)
                silent.advance(by: .milliseconds(4_900))
                #expect(!silent.isClosed)
                silent.advance(by: .seconds(6))
                #expect(silent.isClosed)
            }
        }
    }

    @Test("closes a connection whose frame or header block does not arrive whole, however its bytes drip")
    func halfFrames() async throws {
        try await EmbeddedGRPC.run { server in
            let half = Array(Frame.data(1, framed([1, 2, 3])).bytes.dropLast())
            let block = Frame.headers(1, EmbeddedClient.call(), endsHeaders: false).bytes
            for bytes in [half, block] {
                let client = server.connect()
                if bytes == half { client.send(.headers(1, EmbeddedClient.call())) }
                for byte in bytes.dropLast() {
                    client.send([byte])
                    client.advance(by: .milliseconds(200))
                }
                client.advance(by: .seconds(11))
                #expect(client.isClosed)
            }
        }
    }

    @Test("ends a call that does not arrive whole, with an error, and leaves its connection and later calls alone")
    func halfCall() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.advance(by: .seconds(6))
            client.send(.headers(1, EmbeddedClient.call()), .data(1, [0, 0], ends: false))
            client.advance(by: .seconds(4))
            client.send(.headers(3, EmbeddedClient.call()))
            client.advance(by: .milliseconds(1_100))
            #expect(client.answer(1).code == 4)
            #expect(client.reset(1) == 0)
            #expect(client.answer(3).code == nil)
            client.send(.data(3, framed([1])))
            #expect(client.answer(3).code == 0)
            client.advance(by: .hours(1))
            #expect(!client.isClosed)
            // One that was decided and waits for Redis is no half call.
            client.call(5, path: PatientMethod.path)
            client.advance(by: .hours(1))
            #expect(client.answer(5).code == nil && client.reset(5) == nil)
        }
    }

    @Test("at the end answers all that was sent before the client knew, and then closes")
    func drain() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.call(1, path: PatientMethod.path)
            server.loop.leave()
            client.collect()
            #expect(client.frames.last { $0.kind == .goAway }?.payload.prefix(4) == [0x7f, 0xff, 0xff, 0xff])
            // It was on its way.
            client.call(3)
            #expect(client.answer(3).code == 0)
            let ping = try #require(client.frames.last { $0.kind == .ping && $0.flags == 0 })
            client.send(Frame(kind: .ping, flags: Frame.acknowledge, payload: ping.payload))
            #expect(client.frames.last { $0.kind == .goAway }?.payload == [0, 0, 0, 3, 0, 0, 0, 0])
            #expect(!client.isClosed)
            server.methods.patient.answer()
            server.loop.flush()
            client.collect()
            #expect(client.answer(1).code == 0)
            #expect(client.isClosed)
        }
    }

    @Test("at the end says that it sends no more, and gives the client a second to close")
    func lingering() async throws {
        try await EmbeddedGRPC.run { server in
            let closes = CloseRecorder()
            let client = server.connect([closes])
            defer { client.close() }
            server.loop.leave()
            client.advance(by: .milliseconds(100))
            #expect(closes.modes == [.output])
            // A client that still sends is not reset, and not listened to.
            client.call(1)
            #expect(client.frames.allSatisfy { $0.stream == 0 })
            #expect(!client.isClosed)
            client.advance(by: .seconds(1))
            #expect(closes.modes == [.output, .all] && client.isClosed)
        }
    }

    @Test("at the end waits 100 ms for a client that does not say that it knows, and ends those that watch")
    func silentDrain() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(
                .headers(1, EmbeddedClient.call(ServingHealth.watchPath)), .data(1, framed([]), ends: false))
            #expect(client.answer(1).message == [8, 1])
            server.loop.leave()
            client.collect()
            #expect(!client.isClosed)
            client.advance(by: .milliseconds(100))
            #expect(client.answer(1).code == 14)
            #expect(client.isClosed)
        }
    }

    @Test("lets 16 calls of many messages be open on a connection")
    func streamingCalls() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            for index: Int32 in 0...Int32(HTTP2Bounds.streamingCalls) {
                client.send(
                    .headers(2 * index + 1, EmbeddedClient.call(ServingHealth.watchPath)),
                    .data(2 * index + 1, framed([])))
            }
            #expect(client.answer(31).message == [8, 1])
            #expect(client.answer(31).code == nil)
            #expect(client.answer(33).code == 8)
            client.send(.reset(1))
            client.send(.headers(35, EmbeddedClient.call(ServingHealth.watchPath)), .data(35, framed([])))
            #expect(client.answer(35).message == [8, 1])
        }
    }
}

/// Notes how the server closes, and keeps the channel open for a client that reads on.
private final class CloseRecorder: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private(set) var modes: [CloseMode] = []

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        modes.append(mode)
        if mode == .all { context.close(mode: mode, promise: promise) } else { promise?.succeed() }
    }
}
