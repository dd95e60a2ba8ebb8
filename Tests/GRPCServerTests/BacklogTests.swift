import NIOCore
import NIOPosix
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

/// Clients on a loop.
private struct Clients {
    let many: EmbeddedClient
    let few: EmbeddedClient
}

extension NIOLoopBoundBox where Value == Clients? {
    fileprivate var both: (many: EmbeddedClient, few: EmbeddedClient) {
        get throws {
            let clients = try #require(value)
            return (clients.many, clients.few)
        }
    }
}

@Suite("Calls that wait for Redis")
struct BacklogTests {
    @Test("hold up others no longer than 64 of each connection do, and are all answered when Redis is")
    func backlog() async throws {
        let redis = try RedisServer()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let server = try await EmbeddedGRPC(quota: 1_000, redisPath: redis.socketPath, eventLoop: group.next())
        await server.service.start(patience: .seconds(20))
        redis.stop()
        let clients = try await server.eventLoop.submit {
            NIOLoopBoundBox(
                Clients?(Clients(many: server.connect(), few: server.connect())), eventLoop: server.eventLoop)
        }.get()
        let path = CheckingMethod.path
        try await server.eventLoop.submit {
            let (many, few) = try clients.both
            // Alone, a connection may have many.
            for stream in 0..<Int32(511) { many.call(2 * stream + 1, path: path, message: Array("a".utf8)) }
            #expect(many.isRead)
            many.call(1_023, path: path, message: Array("a".utf8))
            #expect(!many.isRead)
            for stream in 0..<Int32(HTTP2Bounds.pendingCallsWhenBacklogged) {
                #expect(few.isRead)
                few.call(2 * stream + 1, path: path, message: Array("b".utf8))
            }
            #expect(!few.isRead)
        }.get()
        redis.resume()
        let end = NIODeadline.now() + .seconds(20)
        var isAnswered = false
        while !isAnswered, NIODeadline.now() < end {
            isAnswered = try await server.eventLoop.submit {
                let (many, few) = try clients.both
                many.collect()
                few.collect()
                return many.isRead && few.isRead && many.answer(1_023).code == 0 && few.answer(127).code == 0
            }.get()
        }
        #expect(isAnswered)
        try await server.eventLoop.submit {
            let (many, few) = try clients.both
            #expect((0..<Int32(512)).allSatisfy { many.answer(2 * $0 + 1).message == [1] })
            many.close()
            few.close()
            // Their channels go where they were made.
            clients.value = nil
        }.get()
        await server.service.stop()
        try await group.shutdownGracefully()
    }
}
