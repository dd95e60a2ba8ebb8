import NIOCore
import NIOEmbedded
import Testing

@testable import GRPCServer

/// Each known attack on HTTP/2, and what bounds it.
@Suite("A hostile client of gRPC")
struct AttackTests {
    @Test("may reset as many calls as Envoy's timeouts are, and no more than the allowance: rapid reset")
    func rapidReset() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            for index: Int32 in 0..<3_000 {
                client.send(.headers(2 * index + 1, EmbeddedClient.call()), .reset(2 * index + 1))
            }
            #expect(client.goAway == nil && !client.isClosed)
        }
        let gathered = UnsafeMutablePointer<Int>.allocate(capacity: 1)
        gathered.initialize(to: 0)
        defer { gathered.deallocate() }
        let paths = MethodPaths([EchoMethod.path])
        defer { paths.end() }
        let session = HTTP2Session(
            SessionState(paths: paths, firstStreaming: 1, gathered: gathered), resetBurst: 100, resetsPerSecond: 1)
        defer { session.end() }
        var bytes = Frame.preface + Frame.settings().bytes
        for index: Int32 in 0..<200 {
            bytes += Frame.headers(2 * index + 1, EmbeddedClient.call()).bytes + Frame.reset(2 * index + 1).bytes
        }
        _ = bytes.withUnsafeBytes { session.takeIn($0, at: .now()) }
        var output = ByteBuffer()
        #expect(session.giveOut(&output, atMost: .max))
        #expect(session.isOver)
    }

    @Test("loses its connection by resets beyond 100,000, however it makes them, and not before")
    func resetBound() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(.headers(1, EmbeddedClient.call()))
            // Of one stream, since each counts and these come faster than the second's 50,000 are given back.
            let resets = Array(repeating: Frame.reset(1).bytes, count: 10_000).flatMap { $0 }
            var sent = 0
            while !client.isClosed, sent < 5_000_000 {
                client.send(resets)
                sent += 10_000
            }
            #expect(sent > HTTP2Bounds.resetBurst && sent < 5_000_000)
            #expect(client.goAway == 2)
        }
    }

    @Test("ends its connection by a header block of more than 8 CONTINUATION frames")
    func continuationFlood() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(.headers(1, EmbeddedClient.call(), endsHeaders: false))
            var sent = 0
            while !client.isClosed, sent < 100 {
                client.send(Frame(kind: .continuation, stream: 1, payload: Frame.literals([("a", "b")])))
                sent += 1
            }
            #expect(sent <= 9)
        }
    }

    @Test("has calls reset whose headers are too large, and its connection ended for many of them: HPACK bomb")
    func headerBomb() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            // Into the table that later blocks refer to, by one byte each time.
            let entry = [0x40] + Frame.text("x-large") + Frame.text(String(repeating: "x", count: 4_000))
            client.send(
                Frame(
                    kind: .headers, flags: Frame.endHeaders | Frame.endStream, stream: 1,
                    payload: Frame.literals(EmbeddedClient.call()) + entry))
            var stream: Int32 = 3
            while !client.isClosed, stream < 1_000 {
                client.send(
                    Frame(
                        kind: .headers, flags: Frame.endHeaders, stream: stream,
                        payload: Frame.literals(EmbeddedClient.call()) + Array(repeating: 0xbe, count: 15_000)))
                if stream == 3 { #expect(client.reset(3) == 2 && !client.isClosed) }
                client.send(.data(stream, framed([1])))
                stream += 2
            }
            #expect(server.methods.echo.asked.isEmpty)
            #expect(client.goAway == 11)
            #expect(stream / 2 - 1 <= OffenceAllowance.burst + 5)
        }
    }

    @Test("gets no more than 100 empty DATA frames in")
    func emptyData() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(.headers(1, EmbeddedClient.call()))
            for _ in 0..<HTTP2Bounds.emptyDataFrames { client.send(.data(1, [], ends: false)) }
            #expect(client.goAway == nil)
            client.send(.data(1, [], ends: false))
            #expect(client.goAway == 11)
            #expect(client.isClosed)
        }
    }

    @Test("that reads nothing is not read, fills no buffer, and is closed: PING and SETTINGS flood")
    func acknowledgementFlood() async throws {
        for frame in [Frame.ping(), Frame.settings()] {
            try await EmbeddedGRPC.run { server in
                let valve = Valve()
                let client = server.connect([valve])
                defer { client.close() }
                valve.isShut = true
                client.send(frame)
                #expect(!client.isRead)
                for _ in 0..<100 { client.send(Array(repeating: frame.bytes, count: 100).flatMap { $0 }) }
                #expect(valve.held < 2 * HTTP2Bounds.outputBytes)
                // What it was told at the end does not get through.
                client.advance(by: .seconds(11))
                #expect(client.isClosed)
            }
        }
    }

    @Test("that opens no window has 1,024 answers waiting and not one call more, and gets them when it opens one")
    func zeroWindow() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            client.send(Frame.preface + Frame.settings([(4, 0)]).bytes)
            let bound = Int32(HTTP2Bounds.concurrentCalls)
            for index in 0...bound { client.call(2 * index + 1) }
            #expect(client.reset(2 * bound + 1) == 7)
            #expect(server.methods.echo.asked.count == Int(bound))
            #expect(client.frames.allSatisfy { $0.kind != .data })
            client.send(.settings([(4, 100)]))
            #expect((0..<bound).allSatisfy { client.answer(2 * $0 + 1).code == 0 })
            #expect(!client.isClosed)
            // Who has said that it knows the bound, and breaks it, is ended.
            client.send(Frame(kind: .settings, flags: Frame.acknowledge))
            client.send(.settings([(4, 0)]))
            for index in 0...bound { client.call(2 * (bound + 1 + index) + 1) }
            #expect(client.goAway == 1 && client.isClosed)
        }
    }

    @Test("cannot have calls decided for streams that it has the server reset: MadeYouReset")
    func madeYouReset() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            var stream: Int32 = 1
            while !client.isClosed, stream < 4_000 {
                client.call(stream, path: PatientMethod.path)
                // More than a window can be.
                client.send(.windowUpdate(stream, 0x7fff_ffff))
                if stream == 1 { #expect(client.reset(1) == 3) }
                stream += 2
            }
            #expect(client.goAway == 11)
            #expect(server.methods.patient.waiting.count <= OffenceAllowance.burst + 5)
            // Answers to streams that are gone.
            server.methods.patient.answer()
            server.loop.flush()
        }
    }

    @Test("is not read while 1,024 of its calls wait, those included that it has reset, and is read again after")
    func pendingCalls() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            for index in 0..<Int32(HTTP2Bounds.pendingCalls) {
                #expect(client.isRead)
                client.call(2 * index + 1, path: PatientMethod.path)
                client.send(.reset(2 * index + 1))
            }
            #expect(!client.isRead)
            server.methods.patient.answer()
            server.loop.flush()
            #expect(client.isRead)
            client.call(5_001)
            #expect(client.answer(5_001).code == 0)
        }
    }

    @Test("cannot fill memory by messages that arrive in part: 16 MiB for all connections of a loop")
    func gatheredBytes() async throws {
        try await EmbeddedGRPC.run { server in
            let part = [0] + bigEndian(60_000) + Array(repeating: 7, count: 16_000)
            let clients = [server.connect(), server.connect()]
            for client in clients {
                for index: Int32 in 0..<1_000 {
                    client.send(.headers(2 * index + 1, EmbeddedClient.call()), .data(2 * index + 1, part, ends: false))
                }
                #expect(!client.isClosed)
            }
            #expect(server.loop.gathered.pointee <= HTTP2Bounds.gatheredBytes)
            #expect(clients[1].answer(1_999).code == 8)
            for client in clients { client.close() }
            #expect(server.loop.gathered.pointee == 0)
        }
    }

    @Test("whose connection breaks within a flush leaves nothing behind, whatever waits to be sent")
    func brokenWrite() async throws {
        try await EmbeddedGRPC.run { server in
            for path in [EchoMethod.path, PatientMethod.path] {
                let pipe = BreakingPipe()
                let client = server.connect([pipe])
                defer { client.close() }
                let message = Array(repeating: UInt8(7), count: 10_000)
                pipe.isBroken = path == EchoMethod.path
                client.call([1, 3, 5, 7, 9, 11], path: path, message: message)
                pipe.isBroken = true
                server.methods.patient.answer()
                server.loop.flush()
                #expect(client.isClosed)
            }
            #expect(server.loop.connections.isEmpty)
        }
    }

    @Test("does no harm by what it sends behind that for which it is ended, malformed frames included: CVE-2026-27135")
    func afterTheEnd() async throws {
        var malformed: [[UInt8]] = []
        for kind: UInt8 in 0...20 {
            for length in [0, 3, 5, 9] {
                for stream: UInt32 in [0, 1, 3] {
                    let head = Array(bigEndian(UInt32(length)).dropFirst()) + [kind, 0xff] + bigEndian(stream)
                    malformed.append(head + Array(repeating: 0xff, count: length))
                }
            }
        }
        // Data on a stream that there is not; a call with a server's number; too many frames without data; too many calls
        // that the server has to reset.
        var empty = Frame.headers(1, EmbeddedClient.call()).bytes
        for _ in 0...HTTP2Bounds.emptyDataFrames { empty += Frame.data(1, [], ends: false).bytes }
        var resets: [UInt8] = []
        for index in 0...Int32(OffenceAllowance.burst + 5) {
            let stream = 2 * index + 1
            resets += Frame.headers(stream, EmbeddedClient.call()).bytes + Frame.windowUpdate(stream, 0x7fff_ffff).bytes
        }
        let offences = [Frame.data(7, [1]).bytes, Frame.headers(2, EmbeddedClient.call()).bytes, empty, resets]
        try await EmbeddedGRPC.run { [malformed] server in
            for offence in offences {
                for frame in malformed {
                    let one = server.connect()
                    one.send(offence + frame + frame)
                    #expect(one.isClosed)
                    // In later reads, while what it was told does not get through.
                    let valve = Valve()
                    let two = server.connect([valve])
                    valve.isShut = true
                    two.send(Frame.ping())
                    two.send(offence)
                    two.send(frame)
                    two.send(frame)
                    two.advance(by: .seconds(21))
                    #expect(two.isClosed)
                }
            }
            #expect(server.loop.connections.isEmpty)
        }
    }

    @Test("that is no client of HTTP/2 is closed")
    func noPreface() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            client.send(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
            #expect(client.isClosed)
        }
    }
}

/// Holds what is written while it is shut: the socket of a client that does not read.
private final class Valve: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var isShut = false
    private(set) var held = 0

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard isShut else { return context.write(data, promise: promise) }
        held += unwrapOutboundIn(data).readableBytes
        waiting.append(promise)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        for promise in waiting { promise?.fail(ChannelError.ioOnClosedChannel) }
        waiting = []
        context.close(mode: mode, promise: promise)
    }

    private var waiting: [EventLoopPromise<Void>?] = []
}

/// Closes the channel within a write, as NIO does where the socket says that the client is gone.
private final class BreakingPipe: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var isBroken = false

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard isBroken else { return context.write(data, promise: promise) }
        promise?.fail(ChannelError.ioOnClosedChannel)
        context.close(promise: nil)
    }
}
