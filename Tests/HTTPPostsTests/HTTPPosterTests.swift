import NIOCore
import NIOPosix
import TLSContexts
import TestSupport
import Testing

@testable import HTTPPosts

@Suite("A poster")
struct HTTPPosterTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    /// What an answer may have too much of.
    enum Part: CaseIterable {
        case interim, head, body

        var excess: String {
            let text = String(repeating: "a", count: 5_000)
            return switch self {
            case .interim: String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 200)
            case .head: "HTTP/1.1 200 OK\r\nX: \(text)"
            case .body: "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n\(text)"
            }
        }
    }

    private func poster(
        _ url: String, _ options: PostOptions = PostOptions(userAgent: "tests/1")
    ) throws -> HTTPPoster {
        HTTPPoster(url: try PostURL(url), options: options, eventLoop: MultiThreadedEventLoopGroup.singleton.next())
    }

    private func post(
        _ poster: HTTPPoster, _ body: String = "a body", headers: [PostHeader] = [], seconds: Int64 = 20
    ) async throws(PostFailure) -> PostAnswer {
        try await poster.post(
            ByteBuffer(string: body), contentType: "text/plain", headers: headers, within: .seconds(seconds))
    }

    @Test("sends path, query, body and headers, and gives status, body and wait of the answer")
    func answer() async throws {
        let server = try await PostServer { _ in
            .bytes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nretry-after: 17\r\nContent-Length: 4\r\n\r\nlate")
        }
        var options = PostOptions(userAgent: "tests/1", headers: [try PostHeader(name: "API-Key", value: "k 1")])
        options.headers.append(try PostHeader(name: "x-both", value: "general"))
        let poster = try poster("http://127.0.0.1:\(server.port)/a/b?c=d", options)
        let answer = try await post(poster, "x=1", headers: [PostHeader(name: "X-Both", value: "special")])
        #expect(answer == PostAnswer(status: 429, retryAfterSeconds: 17, body: ByteBuffer(string: "late")))
        #expect(!answer.isSuccess)
        let request = try #require(server.seen.requests.first)
        #expect(request.body == "x=1" && request.head.hasPrefix("POST /a/b?c=d HTTP/1.1\r\n"))
        let expected = [
            "host": "127.0.0.1:\(server.port)", "user-agent": "tests/1", "content-type": "text/plain",
            "content-length": "3", "api-key": "k 1", "x-both": "special",
        ]
        for (name, value) in expected { #expect(request.header(name) == value) }
        poster.close()
    }

    @Test("posts one body after another on one connection, and an empty one too")
    func keptConnection() async throws {
        let server = try await PostServer { _ in .bytes(Self.ok) }
        let poster = try poster("http://localhost:\(server.port)")
        for body in ["1", "", "3"] { #expect(try await post(poster, body).isSuccess) }
        #expect(server.seen.connections == 1 && server.seen.requests.map(\.body) == ["1", "", "3"])
        poster.close()
    }

    @Test(
        "connects anew where the server has closed, or says that it will",
        arguments: [
            PostServer.Reply.bytesAndEnd(ok),
            .bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
            .bytesAndEnd("HTTP/1.0 200 OK\r\n\r\nto the end"),
        ])
    func newConnection(reply: PostServer.Reply) async throws {
        let server = try await PostServer { _ in reply }
        let poster = try poster("http://127.0.0.1:\(server.port)/")
        #expect(try await post(poster).isSuccess)
        // The server's end may come after its answer, and the next body be on its way by then.
        try await until { try await post(poster).isSuccess && server.seen.connections >= 2 }
        poster.close()
    }

    @Test("says that nobody listens, and posts as soon as somebody does")
    func refused() async throws {
        let port = try freePort()
        let poster = try poster("http://127.0.0.1:\(port)/")
        await #expect(throws: PostFailure.unreachable(reason: "Connection refused")) { try await post(poster) }
        poster.close()
    }

    @Test("says that a host has no address")
    func noAddress() async throws {
        let poster = try poster("http://nowhere.invalid/")
        let failure = await #expect(throws: PostFailure.self) { try await post(poster) }
        guard case .unreachable = failure else { throw TestFailure("\(String(describing: failure))") }
        poster.close()
    }

    @Test("waits for a server that hangs no longer than it is told, and posts the next on another connection")
    func hangs() async throws {
        let server = try await PostServer { $0 == 0 ? .silence : .bytes(Self.ok) }
        let poster = try poster("http://127.0.0.1:\(server.port)/")
        await #expect(throws: PostFailure.noAnswer(milliseconds: 200)) {
            try await poster.post(ByteBuffer(string: "1"), contentType: "a/b", within: .milliseconds(200))
        }
        #expect(try await post(poster).isSuccess && server.seen.connections == 2)
        poster.close()
    }

    @Test(
        "tells an answer that breaks off from one that is no HTTP",
        arguments: [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true), ("HTTP/1.1 200 OK\r\nConte", true), ("", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", true),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", false), ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false),
        ])
    func brokenAnswer(bytes: String, breaksOff: Bool) async throws {
        let server = try await PostServer { _ in .bytesAndEnd(bytes) }
        let poster = try poster("http://127.0.0.1:\(server.port)/")
        let failure = await #expect(throws: PostFailure.self) { try await post(poster) }
        let reason = "the server closed the connection before it answered"
        #expect(failure == (breaksOff ? .lost(reason: reason) : .notHTTP))
        poster.close()
    }

    @Test(
        "takes in no answer above its bound, be it the head, the body or what precedes both",
        arguments: Part.allCases)
    func tooLong(part: Part) async throws {
        let server = try await PostServer { _ in .bytes(part.excess) }
        var options = PostOptions(userAgent: "tests/1")
        options.maximumAnswerBytes = 4_096
        let poster = try poster("http://127.0.0.1:\(server.port)/", options)
        await #expect(throws: PostFailure.answerTooLong(maximumBytes: 4_096)) { try await post(poster) }
        poster.close()
    }

    @Test("bounds each answer, and not all of a connection together")
    func boundOfEach() async throws {
        let server = try await PostServer { _ in .bytes(Self.ok) }
        var options = PostOptions(userAgent: "tests/1")
        options.maximumAnswerBytes = Self.ok.utf8.count
        let poster = try poster("http://127.0.0.1:\(server.port)/", options)
        for _ in 0..<3 { #expect(try await post(poster).isSuccess) }
        #expect(server.seen.connections == 1)
        poster.close()
    }

    @Test("takes an answer before the whole body is sent, and uses that connection no more")
    func earlyAnswer() async throws {
        let server = try await PostServer(readsAll: false) { _ in
            .bytes("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        }
        let poster = try poster("http://127.0.0.1:\(server.port)/")
        #expect(try await post(poster, String(repeating: "a", count: 64 << 20)).status == 413)
        #expect(try await post(poster).status == 413 && server.seen.connections == 2)
        poster.close()
    }

    @Test("ends a post whose task is cancelled, and one that has not begun by then")
    func cancelled() async throws {
        let server = try await PostServer { _ in .silence }
        let poster = try poster("http://127.0.0.1:\(server.port)/")
        let task = Task { try await post(poster) }
        try await until { server.seen.requests.count == 1 }
        task.cancel()
        await #expect(throws: PostFailure.cancelled) { try await task.value }
        let late = Task {
            while !Task.isCancelled { await Task.yield() }
            return try await post(poster)
        }
        late.cancel()
        await #expect(throws: PostFailure.cancelled) { try await late.value }
        #expect(server.seen.requests.count == 1)
        poster.close()
    }

    @Test("that is closed ends what is being posted, and posts nothing more")
    func closed() async throws {
        let server = try await PostServer { _ in .silence }
        let poster = try poster("http://127.0.0.1:\(server.port)/")
        let task = Task { try await post(poster) }
        try await until { server.seen.requests.count == 1 }
        poster.close()
        await #expect(throws: PostFailure.closed) { try await task.value }
        await #expect(throws: PostFailure.closed) { try await post(poster) }
        #expect(server.seen.connections == 1)
    }
}

/// TLS of its own authority.
@Suite("A poster over TLS")
struct EncryptedPosterTests {
    private let authority: CertificateAuthority

    init() throws { authority = try CertificateAuthority() }

    private func post(
        to host: String, _ server: PostServer, authorities: String? = nil, within limit: TimeAmount = .seconds(20)
    ) async throws(PostFailure) -> PostAnswer {
        var options = PostOptions(userAgent: "tests/1")
        options.tls.authoritiesFile = authorities ?? authority.file
        let url: PostURL
        do { url = try PostURL("https://\(host):\(server.port)/v1") } catch { throw .unreachable(reason: "\(error)") }
        let poster = HTTPPoster(
            url: url, options: options, eventLoop: MultiThreadedEventLoopGroup.singleton.next())
        defer { poster.close() }
        return try await poster.post(ByteBuffer(string: "secret"), contentType: "a/b", within: limit)
    }

    private func server(names: String = "DNS:localhost,IP:127.0.0.1", days: Int = 30) async throws -> PostServer {
        let certificate = try authority.issue("server", names: names, days: days)
        return try await PostServer(certificate: certificate) { _ in
            .bytesAndEnd("HTTP/1.1 204 No Content\r\n\r\n")
        }
    }

    @Test("posts to a server that proves its name or its address", arguments: ["localhost", "127.0.0.1"])
    func verified(host: String) async throws {
        let server = try await server()
        #expect(try await post(to: host, server).status == 204)
        #expect(server.seen.requests.map(\.body) == ["secret"])
    }

    @Test("sends nothing to a server that proves another name, nothing, or too late")
    func unverified() async throws {
        let other = try await server(names: "DNS:example.com")
        await #expect(throws: PostFailure.unreachable(reason: "TLS: the server's certificate is not for localhost")) {
            try await post(to: "localhost", other)
        }
        let expired = try await server(days: -1)
        let failure = await #expect(throws: PostFailure.self) { try await post(to: "localhost", expired) }
        #expect(failure?.description.hasPrefix("TLS: the server's certificate expired on ") == true)
        let foreign = try CertificateAuthority()
        let reason =
            "no authority that is trusted here vouches for the server's certificate, or one between has expired"
        let valid = try await server()
        await #expect(throws: PostFailure.unreachable(reason: "TLS: \(reason)")) {
            try await post(to: "localhost", valid, authorities: foreign.file)
        }
        for server in [other, expired, valid] { #expect(server.seen.requests == []) }
    }

    @Test("names a server that speaks no TLS, one that never does, and a file that cannot be used")
    func notTLS() async throws {
        let plain = try await PostServer(readsAll: false) { _ in .bytes("HTTP/1.1 400 Bad\r\n\r\n") }
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Greeter())
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let poster = HTTPPoster(
            url: try PostURL("https://127.0.0.1:\(listener.localAddress?.port ?? 0)"),
            options: PostOptions(userAgent: "tests/1"), eventLoop: MultiThreadedEventLoopGroup.singleton.next())
        let reason = "TLS: the server does not speak TLS on this port"
        await #expect(throws: PostFailure.unreachable(reason: reason)) {
            try await poster.post(ByteBuffer(), contentType: "a/b", within: .seconds(20))
        }
        poster.close()
        try await listener.close()
        await #expect(throws: PostFailure.noHandshake) {
            try await post(to: "localhost", plain, within: .milliseconds(300))
        }
        await #expect(
            throws: PostFailure.files(reason: "cannot use the certificate authorities: it is not a regular file")
        ) {
            try await post(to: "localhost", plain, authorities: "/dev/null")
        }
    }
}

/// Says something that is no TLS as soon as somebody connects.
private final class Greeter: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "220 mail.example ready\r\n")), promise: nil)
    }
}

/// Waits until something holds; a test whose condition never does fails.
private func until(_ condition: () async throws -> Bool) async throws {
    for _ in 0..<2_000 {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw TestFailure("what is waited for does not come")
}
