import NIOCore
import Testing

@testable import GRPCServer

@Suite("A gRPC connection")
struct GRPCConnectionTests {
    @Test("answers a call with its message and the status 0")
    func echo() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.call(1)
            #expect(client.answer(1).message == Array("hello".utf8))
            #expect(client.answer(1).code == 0)
            #expect(client.fields[1]?.first?[":status"] == "200")
            #expect(client.fields[1]?.first?["content-type"] == "application/grpc")
            #expect(!client.isClosed)
        }
    }

    @Test("announces its bounds, opens a window of 1 MiB, and opens it again by halves as messages arrive")
    func windows() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            func opened() -> [Int] {
                client.frames.filter { $0.kind == .windowUpdate && $0.stream == 0 }.map { frame in
                    frame.payload.reduce(0) { $0 << 8 | Int($1) }
                }
            }
            let window = Int(HTTP2Bounds.connectionWindowBytes)
            let settings = Frame.settings([(3, 1_024), (6, 8_192), (9, 1)])
            #expect(client.frames == [settings, .windowUpdate(0, UInt32(window - 65_535))])
            client.send(Frame.preface + Frame.settings().bytes)
            let message = Array(repeating: UInt8(7), count: 16_000)
            var sent = 0
            for index: Int32 in 0..<200 {
                client.call(2 * index + 1, message: message)
                sent += framed(message).count
                let known = window + opened().dropFirst().reduce(0, +)
                #expect(known - sent >= window / 2 - framed(message).count && known - sent <= window)
            }
            #expect(opened().count <= 2 + 2 * sent / window)
        }
    }

    @Test("asks the engine, and writes what it decides")
    func check() async throws {
        try await EmbeddedGRPC.run(quota: 2) { server in
            let client = server.connect()
            defer { client.close() }
            for stream: Int32 in [1, 3, 5] {
                client.call(stream, path: CheckingMethod.path, message: Array("someone".utf8))
            }
            #expect([1, 3, 5].map { client.answer($0).message } == [[1], [1], [0]])
        }
    }

    @Test("takes a message in any cuts of the bytes")
    func cuts() async throws {
        try await EmbeddedGRPC.run { server in
            let bytes =
                Frame.preface + Frame.settings().bytes + Frame.headers(1, EmbeddedClient.call()).bytes
                + Frame.data(1, Array(framed(Array("hello".utf8)).prefix(3)), ends: false).bytes
                + Frame.data(1, Array(framed(Array("hello".utf8)).dropFirst(3))).bytes
            for cut in 1..<bytes.count {
                let client = server.connect(saysHello: false)
                defer { client.close() }
                client.send(bytes[..<cut])
                client.send(bytes[cut...])
                #expect(client.answer(1).message == Array("hello".utf8))
                #expect(client.answer(1).code == 0)
            }
            let client = server.connect(saysHello: false)
            defer { client.close() }
            for byte in bytes { client.send([byte]) }
            #expect(client.answer(1).message == Array("hello".utf8))
        }
    }
}
