import NIOCore
import NIOSSL
import NIOTLS
import TLSContexts

/// The link's end in a channel: bytes to replies, and what happens to the connection.
final class RedisChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Where the channel goes: the link may have moved on while it connected.
    let endpoint: RedisEndpoint
    private weak var link: RedisLink?
    private var context: ChannelHandlerContext?
    private let reader = ReplyReader()
    /// The first thing that went wrong: what follows from it says less.
    private var failure: LinkFailure?
    /// Whether the TLS handshake is still to be done. What is written meanwhile waits for it.
    private(set) var isEncrypting: Bool

    init(link: RedisLink, endpoint: RedisEndpoint) {
        self.link = link
        self.endpoint = endpoint
        isEncrypting = endpoint.tls != nil
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        // Nobody would close a connection that outlives its link.
        guard let link else { return context.close(promise: nil) }
        link.connected(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        do throws(ReplyFault) {
            let fed = buffer.withUnsafeReadableBytes { bytes in
                Result { () throws(ReplyFault) in try reader.feed(bytes) }
            }
            try fed.get()
            while let reply = try reader.next() { link?.received(reply) }
        } catch {
            switch error {
            case .malformed(let reason): failure = .unreachable("Redis sent bytes that are no reply: \(reason)")
            case .tooLarge: failure = .unreachable("Redis sent a reply above the bound")
            }
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        link?.readCompleted()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        link?.closed(self, because: failure ?? .unreachable("Redis closed the connection"))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent { isEncrypting = false }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Most servers close without the goodbye of TLS: a closed connection and no more.
        if failure == nil, error as? NIOSSLError != .uncleanShutdown {
            let tls = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
            let reason = connectionFailure(
                error, nameToVerify: endpoint.nameToVerify, certificate: tls?.peerCertificate)
            failure = .unreachable(reason)
        }
        context.close(promise: nil)
    }

    func write(_ bytes: ByteBuffer) {
        context?.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
    }

    func close() {
        context?.close(promise: nil)
    }
}
