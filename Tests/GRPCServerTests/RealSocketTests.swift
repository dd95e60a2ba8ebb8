import Foundation
import Glibc
import NIOCore
import TestSupport
import Testing

@testable import GRPCServer

/// A client on a Unix socket that reads only when it is told to.
private final class RawClient {
    private let descriptor: CInt
    private(set) var sent = 0
    private var unread: [UInt8] = []

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        try #require(withUnixAddress(path) { connect(descriptor, $0, $1) } == 0)
    }

    deinit { close(descriptor) }

    /// Sends as much as is taken within 300 ms of the last that was.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        var start = 0
        while start < bytes.count, isReady(POLLOUT, milliseconds: 300) {
            let count = bytes[start...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
            }
            guard count > 0 else { break }
            start += count
        }
        sent += start
        return start
    }

    /// Reads frames until `isEnough`; nil where the server has closed the connection, or says nothing for long.
    func frames(until isEnough: ([Frame]) -> Bool) -> [Frame]? {
        var frames: [Frame] = []
        while !isEnough(frames) {
            guard isReady(POLLIN, milliseconds: 20_000) else { return nil }
            var part = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &part, part.count, 0)
            guard count > 0 else { return nil }
            unread += part[..<count]
            frames += Frame.takeAll(&unread)
        }
        return frames
    }

    private func isReady(_ event: CInt, milliseconds: CInt) -> Bool {
        var poller = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        return poll(&poller, 1, milliseconds) > 0
    }
}

@Suite("A gRPC server on a real socket")
struct RealSocketTests {
    private static let hello = Frame.preface + Frame.settings().bytes

    /// The frames that end calls.
    private func answered(_ frames: [Frame]) -> Int {
        frames.count { $0.kind == .headers && $0.flags & Frame.endStream != 0 }
    }

    @Test("stops reading a client that does not take its answers, and then answers each of its calls")
    func backpressure() async throws {
        let server = try await ListeningGRPC()
        let client = try RawClient(server.path)
        client.send(Self.hello + Frame.windowUpdate(0, 1 << 30).bytes)
        var bytes: [UInt8] = []
        let message = framed(Array(repeating: 7, count: 2_000))
        let count: Int32 = 16_000
        for index in 0..<count {
            bytes +=
                Frame.headers(2 * index + 1, EmbeddedClient.call()).bytes + Frame.data(2 * index + 1, message).bytes
        }
        let sent = client.send(bytes)
        #expect(sent < 8 << 20, "the server goes on reading")
        let rest = Array(bytes[sent...])
        var position = 0
        var answers = 0
        while position < rest.count || answers < Int(count) {
            let frames = try #require(client.frames { !$0.isEmpty })
            answers += answered(frames)
            let refused = frames.contains { $0.kind == .reset || $0.kind == .goAway }
            try #require(!refused)
            if position < rest.count {
                position += client.send(Array(rest[position..<min(position + 65_536, rest.count)]))
            }
        }
        #expect(answers == Int(count))
        try await server.stop()
    }

    @Test("closes a client that never reads, and one that opens no window, and serves others meanwhile and after")
    func unreadAnswers() async throws {
        let server = try await ListeningGRPC(requestTimeoutMilliseconds: 250)
        let deaf = try RawClient(server.path)
        deaf.send(Self.hello + Frame.windowUpdate(0, 1 << 30).bytes)
        var bytes: [UInt8] = []
        let message = framed(Array(repeating: 7, count: 2_000))
        for index: Int32 in 0..<4_000 {
            bytes +=
                Frame.headers(2 * index + 1, EmbeddedClient.call()).bytes + Frame.data(2 * index + 1, message).bytes
        }
        #expect(deaf.send(bytes) < bytes.count)
        let closed = try RawClient(server.path)
        closed.send(Frame.preface + Frame.settings([(4, 0)]).bytes)
        closed.send(Frame.headers(1, EmbeddedClient.call()).bytes + Frame.data(1, framed([1])).bytes)
        // It is told why: ENHANCE_YOUR_CALM.
        let frames = try #require(closed.frames { $0.contains { $0.kind == .goAway } })
        #expect(frames.last { $0.kind == .goAway }?.errorCode == 11)
        #expect(closed.frames { _ in false } == nil)
        #expect(eventually(within: 20) { server.server.connections == 0 })
        withExtendedLifetime(deaf) {}
        let other = try RawClient(server.path)
        other.send(Self.hello + Frame.headers(1, EmbeddedClient.call()).bytes + Frame.data(1, framed([1])).bytes)
        #expect(other.frames { answered($0) == 1 } != nil)
        try await server.stop()
    }

    @Test("closes a connection above the bound at once, and takes one again when another has gone")
    func connectionLimit() async throws {
        let server = try await ListeningGRPC(connectionLimit: 1)
        func isServed(_ client: RawClient) -> Bool {
            client.send(Self.hello)
            client.send(Frame.headers(1, EmbeddedClient.call()).bytes + Frame.data(1, framed([1])).bytes)
            return client.frames { answered($0) == 1 } != nil
        }
        do {
            let first = try RawClient(server.path)
            #expect(isServed(first))
            #expect(!isServed(try RawClient(server.path)))
        }
        #expect(eventually(within: 20) { server.server.connections == 0 })
        #expect(isServed(try RawClient(server.path)))
        try await server.stop()
    }

    @Test("closes a connection at the end when its client knows, also one that does not close itself")
    func end() async throws {
        let server = try await ListeningGRPC()
        let client = try RawClient(server.path)
        client.send(Self.hello)
        _ = try #require(client.frames { !$0.isEmpty })
        async let closed: Void = server.server.close(patience: .seconds(30))
        // It answers the server's PING, and closes when it has read the end.
        let ping = try #require(client.frames { $0.contains { $0.kind == .ping && $0.flags == 0 } }?.last)
        client.send(Frame(kind: .ping, flags: Frame.acknowledge, payload: ping.payload).bytes)
        #expect(client.frames { _ in false } == nil)
        await closed
        #expect(server.server.connections == 0)
        withExtendedLifetime(client) {}
        try await server.stop()
    }

    @Test(
        "answers a load generator's calls, each of them, over 1 and over 8 connections", .needs("h2load"),
        arguments: [(1, 100), (8, 16)])
    func load(_ connections: Int, _ streams: Int) async throws {
        let server = try await ListeningGRPC()
        let folder = try TemporaryFolder()
        let body = folder.file("message")
        try Data(framed(Array("hello".utf8))).write(to: URL(fileURLWithPath: body))
        let root = "\(clientsFolder)/h2load/usr"
        let libraries = (try? FileManager.default.contentsOfDirectory(atPath: "\(root)/lib")) ?? []
        let process = try ChildProcess(
            "\(root)/bin/h2load",
            [
                "-n", "20000", "-c", "\(connections)", "-m", "\(streams)", "-d", body, "-H", "te: trailers", "-H",
                "content-type: application/grpc", "-B", "unix:\(server.path)", "http://localhost\(EchoMethod.path)",
            ], environment: ["LD_LIBRARY_PATH": libraries.map { "\(root)/lib/\($0)" }.joined(separator: ":")])
        #expect(try process.wait(seconds: 60) == 0)
        #expect(
            process.output.contains("20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored"),
            "\(process.output)")
        try await server.stop()
    }
}
