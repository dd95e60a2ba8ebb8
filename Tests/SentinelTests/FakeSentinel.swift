import NIOCore
import NIOPosix
import Synchronization
import TestSupport

@testable import RedisClient

/// A Sentinel that names whatever master a test tells it to.
final class FakeSentinel: Sendable {
    /// What it says, and who hears what it says by itself.
    fileprivate final class State: Sendable {
        let answer: Mutex<(masterPort: UInt16, configEpoch: Int)>
        let subscribers = Mutex<[any Channel]>([])
        let id: String

        init(masterPort: UInt16, configEpoch: Int) {
            answer = Mutex((masterPort, configEpoch))
            id = String((0..<40).map { _ in "0123456789abcdef".randomElement() ?? "0" })
        }
    }

    let port: UInt16
    private let channel: any Channel
    private let state: State

    /// Listens on a free port.
    init(masterPort: UInt16, configEpoch: Int = 0) throws {
        let state = State(masterPort: masterPort, configEpoch: configEpoch)
        self.state = state
        channel = try ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FakeSentinelHandler(state))
                }
            }.bind(host: "127.0.0.1", port: 0).wait()
        port = UInt16(channel.localAddress?.port ?? 0)
    }

    /// Names another master from now on.
    ///
    /// - Parameter isTold: whether it says so by itself as well.
    func switchMaster(to masterPort: UInt16, configEpoch: Int, isTold: Bool) {
        state.answer.withLock { $0 = (masterPort, configEpoch) }
        guard isTold else { return }
        let text = "mymaster 127.0.0.1 1 127.0.0.1 \(masterPort)"
        let message = RESP.array(["message", "+switch-master", text])
        for subscriber in state.subscribers.withLock({ $0 }) {
            subscriber.writeAndFlush(ByteBuffer(string: message), promise: nil)
        }
    }

    func stop() { try? channel.close().wait() }

    deinit { channel.close(promise: nil) }
}

private enum RESP {
    static func array(_ texts: [String]) -> String {
        "*\(texts.count)\r\n" + texts.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
    }
}

private final class FakeSentinelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let state: FakeSentinel.State
    private let reader = ReplyReader()
    private var isSubscriber = false

    init(_ state: FakeSentinel.State) { self.state = state }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // A command looks like a reply that is an array of strings.
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        guard (try? bytes.withUnsafeBytes { try reader.feed($0) }) != nil else { return }
        while let reply = (try? reader.next()) ?? nil {
            let command = reply.elements.compactMap { reply.text(of: $0) }
            let text = answer(to: command, context)
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        }
    }

    private func answer(to command: [String], _ context: ChannelHandlerContext) -> String {
        let (port, epoch) = state.answer.withLock { $0 }
        switch command.prefix(2) {
        case ["SENTINEL", "MYID"]: return "$40\r\n\(state.id)\r\n"
        case ["SENTINEL", "SENTINELS"]: return "*0\r\n"
        case ["SENTINEL", "GET-MASTER-ADDR-BY-NAME"]: return RESP.array(["127.0.0.1", "\(port)"])
        case ["SENTINEL", "MASTER"]: return RESP.array(["name", "mymaster", "config-epoch", "\(epoch)"])
        case ["SUBSCRIBE", "+switch-master"]:
            isSubscriber = true
            state.subscribers.withLock { $0.append(context.channel) }
            return "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
        case ["PING"]: return isSubscriber ? RESP.array(["pong", ""]) : "+PONG\r\n"
        default: return "-ERR unknown command\r\n"
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
