import NIOCore
import Testing

@testable import GRPCServer

@Suite("A gRPC call")
struct GRPCCallTests {
    /// What a call is answered that is sent as these frames.
    private func answer(
        _ frames: @escaping @Sendable () -> [Frame]
    ) async throws -> (
        code: Int?, message: [UInt8], asked: Int, fields: [String: String], isClosed: Bool, reset: UInt32?
    ) {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            for frame in frames() { client.send(frame) }
            let answer = client.answer(1)
            return (
                answer.code, answer.message, server.methods.echo.asked.count, client.fields[1]?.last ?? [:],
                client.isClosed, client.reset(1)
            )
        }
    }

    @Test("may come in any number of DATA frames, with an end of its own and with trailers")
    func frames() async throws {
        let message = Array((0..<40_000).map { UInt8(truncatingIfNeeded: $0) })
        let parts = stride(from: 0, to: message.count + 5, by: 7_000).map {
            Array(framed(message)[$0..<min($0 + 7_000, message.count + 5)])
        }
        let ends: [Frame] = [
            .data(1, [], ends: true), .headers(1, [("x-checksum", "1")], ends: true),
        ]
        for end in ends {
            let answer = try await answer {
                [.headers(1, EmbeddedClient.call())] + parts.map { .data(1, $0, ends: false) } + [end]
            }
            #expect(answer.code == 0)
            #expect(answer.message == message)
            #expect(answer.asked == 1)
        }
    }

    @Test("with padding is read without it")
    func padding() async throws {
        let answer = try await answer {
            var frame = Frame.data(1, [3] + framed([1, 2]) + [0, 0, 0])
            frame.flags |= 8
            return [.headers(1, EmbeddedClient.call()), frame]
        }
        #expect(answer.message == [1, 2])
    }

    @Test("with two messages, with none, or with a part of one is an error, and nobody is asked")
    func cardinality() async throws {
        for (frames, code): ([Frame], Int) in [
            ([.data(1, framed([1]) + framed([2]))], 12),
            ([.data(1, framed([1]), ends: false), .data(1, framed([2]))], 12),
            ([.data(1, framed([1]), ends: false), .data(1, [7])], 12), ([.data(1, [])], 12),
            ([.data(1, Array(framed([1, 2]).dropLast()))], 3), ([.data(1, [0, 0])], 3),
        ] {
            let answer = try await answer { [.headers(1, EmbeddedClient.call())] + frames }
            #expect(answer.code == code)
            #expect(answer.asked == 0)
            #expect(!answer.isClosed)
        }
    }

    @Test("with two messages in one read is an error as well, and one whose end comes later keeps its message")
    func oneRead() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(
                .headers(1, EmbeddedClient.call()), .data(1, framed([1]), ends: false), .data(1, framed([2])))
            #expect(client.answer(1).code == 12)
            // What else is read then may come to lie where the message was.
            let message = Array(repeating: UInt8(1), count: 1_000)
            client.send(.headers(3, EmbeddedClient.call()), .data(3, framed(message), ends: false))
            for _ in 0..<20 { client.send((0..<70).flatMap { _ in Frame.ping(acknowledges: true).bytes }) }
            client.send(.data(3, []))
            #expect(client.answer(3).message == message)
            #expect(server.methods.echo.asked == [message])
        }
    }

    @Test("of a path that there is not, or compressed, is not implemented, and says what is accepted")
    func unimplemented() async throws {
        let unknown = try await answer {
            [.headers(1, EmbeddedClient.call("/test.Echo/Nowhere")), .data(1, framed([1]))]
        }
        #expect(unknown.code == 12)
        #expect(unknown.fields["grpc-message"] == "cannot call: there is no method of this path")
        let compressed = try await answer {
            [.headers(1, EmbeddedClient.call()), .data(1, framed([1], isCompressed: true))]
        }
        #expect(compressed.code == 12)
        #expect(compressed.fields["grpc-accept-encoding"] == "identity")
        #expect(compressed.asked == 0)
    }

    @Test("with a message of 64 KiB is answered, and with a longer one is exhausted before that has arrived")
    func messageBound() async throws {
        let most = Array(repeating: UInt8(7), count: HTTP2Bounds.messageBytes)
        let answer = try await answer {
            [.headers(1, EmbeddedClient.call())]
                + stride(from: 0, to: most.count + 5, by: 16_000).map {
                    .data(1, Array(framed(most)[$0..<min($0 + 16_000, most.count + 5)]), ends: false)
                } + [.data(1, [])]
        }
        #expect(answer.asked == 1)
        let longer = try await self.answer {
            [.headers(1, EmbeddedClient.call()), .data(1, [0] + bigEndian(UInt32(most.count + 1)), ends: false)]
        }
        #expect(longer.code == 8)
        // The client is told to send no more of it.
        #expect(longer.reset == 0)
        #expect(!longer.isClosed)
    }

    @Test("of another method of HTTP is 405, and of another type of content 415")
    func notGRPC() async throws {
        let get = try await answer { [.headers(1, EmbeddedClient.call(method: "GET"), ends: true)] }
        #expect(get.fields == [":status": "405", "allow": "POST"])
        for type in ["application/json", "application/grpc-web", "application/grpcx"] {
            let other = try await answer {
                [.headers(1, EmbeddedClient.call(contentType: type)), .data(1, framed([1]))]
            }
            #expect(other.fields == [":status": "415"])
            #expect(other.asked == 0)
        }
        for type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
            let answer = try await answer {
                [.headers(1, EmbeddedClient.call(contentType: type)), .data(1, framed([1]))]
            }
            #expect(answer.code == 0)
        }
    }

    @Test("whose time is over when it has arrived is told so, and nobody is asked")
    func timeout() async throws {
        for (timeout, code) in [("1n", 4), ("1S", 0), ("99999999H", 0), ("x", 0)] {
            let answer = try await answer {
                [.headers(1, EmbeddedClient.call(EchoMethod.path, [("grpc-timeout", timeout)])), .data(1, framed([1]))]
            }
            #expect(answer.code == code)
            #expect(answer.asked == (code == 0 ? 1 : 0))
        }
    }

    @Test("that is reset in the read that it came in is not asked; one that is reset later is answered to nobody")
    func reset() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(.headers(1, EmbeddedClient.call()), .data(1, framed([1])), .reset(1))
            #expect(server.methods.echo.asked.isEmpty)
            client.call(3, path: PatientMethod.path)
            client.call(5, path: PatientMethod.path)
            #expect(server.methods.patient.waiting.count == 2)
            client.send(.reset(3))
            server.methods.patient.answer()
            server.loop.flush()
            client.collect()
            #expect(client.answer(3).code == nil)
            #expect(client.frames.allSatisfy { $0.stream != 3 && $0.kind != .goAway })
            #expect(client.answer(5).code == 0)
            #expect(!client.isClosed)
        }
    }

    @Test("is answered with all others of its turn in one write")
    func oneWrite() async throws {
        try await EmbeddedGRPC.run { server in
            let counter = WriteCounter()
            let client = server.connect([counter])
            defer { client.close() }
            let before = counter.writes
            client.call((0..<100).map { 2 * $0 + 1 })
            #expect(counter.writes == before + 1)
            #expect(client.answer(199).code == 0)
        }
    }
}

/// Counts writes.
private final class WriteCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private(set) var writes = 0

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        writes += 1
        context.write(data, promise: promise)
    }
}
