import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@testable import RedisClient

/// A server that answers as a test tells it to: for what no real Redis would do.
final class FakeRedis: Sendable {
    enum Step: Sendable {
        case send(String)
        case sendLater(String, TimeAmount)
        /// Sends it once the flag is set, however long that takes.
        case sendOnce(Flag, String)
        case close
    }

    /// What to do about a command of a connection, counted from 0.
    typealias Script = @Sendable (_ connection: Int, _ command: [String]) -> [Step]

    let socketPath: String
    private let folder: TemporaryFolder
    private let channel: any Channel
    private let log: CommandLog

    /// Each connection's commands so far.
    var commands: [[[String]]] { log.commands.withLock { $0 } }

    /// Listens until `stop()`; a PING that the script leaves unanswered (nil) gets its PONG.
    init(_ script: @escaping Script) async throws {
        let folder = try TemporaryFolder()
        let log = CommandLog()
        socketPath = folder.file("fake.sock")
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FakeRedisHandler(script: script, log: log))
                }
            }.bind(unixDomainSocketPath: socketPath).get()
        self.folder = folder
        self.log = log
    }

    func stop() async throws { try await channel.close().get() }
}

private final class CommandLog: Sendable {
    let commands = Mutex<[[[String]]]>([])
}

private final class FakeRedisHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let script: FakeRedis.Script
    private let log: CommandLog
    private let reader = ReplyReader()
    private var connection = 0

    init(script: @escaping FakeRedis.Script, log: CommandLog) {
        self.script = script
        self.log = log
    }

    func channelActive(context: ChannelHandlerContext) {
        connection = log.commands.withLock { commands in
            commands.append([])
            return commands.count - 1
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // A command looks like a reply that is an array of strings.
        guard (try? reader.feed(Array(unwrapInboundIn(data).readableBytesView))) != nil else { return }
        while let reply = (try? reader.next()) ?? nil {
            let command = reply.elements.compactMap { reply.text(of: $0) }
            log.commands.withLock { $0[connection].append(command) }
            for step in script(connection, command) { perform(step, context) }
        }
    }

    private func perform(_ step: FakeRedis.Step, _ context: ChannelHandlerContext) {
        switch step {
        case .send(let text): context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        case .sendLater(let text, let delay):
            context.eventLoop.assumeIsolated().scheduleTask(in: delay) { [self] in
                context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
            }
        case .sendOnce(let flag, let text):
            guard !flag.isSet else { return perform(.send(text), context) }
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) { [self] in
                if context.channel.isActive { perform(step, context) }
            }
        case .close: context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Counts calls from any thread.
final class Counter: Sendable {
    private let count = Mutex(0)

    func next() -> Int {
        count.withLock { count in
            defer { count += 1 }
            return count
        }
    }
}

/// Something that is to happen once, as soon as it is asked for.
final class Once: Sendable {
    private let isDue = Mutex(false)

    func set() { isDue.withLock { $0 = true } }

    /// Whether it is to happen now.
    func take() -> Bool {
        isDue.withLock { isDue in
            defer { isDue = false }
            return isDue
        }
    }
}
