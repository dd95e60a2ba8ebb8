import NIOCore
import NIOPosix

@testable import GRPCServer

#if canImport(GRPCServerTests)
    @testable import GRPCServerTests
#endif

/// Whatever a client of gRPC sends, in whatever parts: what it gets are whole frames, each call is answered once at most,
/// and nothing is left behind when it goes. The first byte says how the others are cut, and whether the client says hello.
func fuzzHTTP2(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (head, rest) = bytes.headAndRest
    let parts = cuts(rest, seed: head & 0x7f).map { Array($0) }
    let finding: FuzzFinding?
    do {
        let server = try FuzzedDoor.server.get()
        finding = try server.eventLoop.submit { converse(server, parts, saysHello: head & 0x80 == 0) }.wait()
    } catch {
        throw FuzzFinding(description: "no server: \(error)")
    }
    if let finding { throw finding }
}

/// One connection from its beginning to its end, on the server's event loop; gives what does not hold.
private func converse(_ server: EmbeddedGRPC, _ parts: [[UInt8]], saysHello: Bool) -> FuzzFinding? {
    let client = server.connect(saysHello: saysHello)
    for (index, part) in parts.enumerated() {
        client.send(part)
        // Some calls are decided while others arrive.
        if index % 3 == 2 { answer(server, client) }
    }
    answer(server, client)
    client.advance(by: .seconds(30))
    let result = Result { () throws(FuzzFinding) in try holdAnswers(client) }
    client.close()
    server.methods.patient.answer()
    server.methods.echo.forget()
    do throws(FuzzFinding) {
        try result.get()
        try hold(server.loop.connections.isEmpty, "a connection is left")
        try hold(server.loop.gathered.pointee == 0, "\(server.loop.gathered.pointee) bytes are left")
        return nil
    } catch {
        return error
    }
}

private func answer(_ server: EmbeddedGRPC, _ client: EmbeddedClient) {
    server.methods.patient.answer()
    server.loop.flush()
    client.collect()
}

private func holdAnswers(_ client: EmbeddedClient) throws(FuzzFinding) {
    try hold(client.unreadBytes == 0, "a frame is cut off, or of a kind that there is not")
    var ended: Set<Int32> = []
    for frame in client.frames {
        switch frame.kind {
        case .headers, .data:
            try hold(!ended.contains(frame.stream), "stream \(frame.stream) goes on behind its end")
            if frame.flags & Frame.endStream != 0 { ended.insert(frame.stream) }
        case .pushPromise, .priority, .continuation:
            throw FuzzFinding(description: "the server sends \(frame.kind)")
        case .reset, .settings, .ping, .goAway, .windowUpdate: break
        }
    }
    for (stream, blocks) in client.fields {
        try hold(blocks.count <= 2, "stream \(stream) has \(blocks.count) blocks of headers")
        try hold(blocks[0][":status"] != nil, "stream \(stream) has no status")
    }
}

/// One server for all inputs.
private enum FuzzedDoor {
    static let server = Result<EmbeddedGRPC, any Error> {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        return try eventLoop.makeFutureWithTask {
            try await EmbeddedGRPC(quota: 1_000_000_000_000, eventLoop: eventLoop)
        }.wait()
    }
}
