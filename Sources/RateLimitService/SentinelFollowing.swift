import Logging
import NIOCore
import RedisClient

/// How the links of a ``CheckService`` find the server that holds the windows.
extension CheckService {
    /// A link to the server that the URL names, or, behind Sentinels, to none until they have told it.
    static func makeLink(_ redis: RedisTopology, _ options: LinkOptions, _ eventLoop: any EventLoop) -> RedisLink {
        guard case .sentinel = redis else {
            return RedisLink(endpoint: redis.server, options: options, eventLoop: eventLoop)
        }
        var options = options
        options.requiresMaster = true
        return RedisLink(endpoint: nil, options: options, eventLoop: eventLoop)
    }

    /// Behind Sentinels, what tells `links` where the master is; it lives on the first link's event loop.
    static func makeWatcher(
        _ redis: RedisTopology, _ links: [NIOLoopBound<RedisLink>], _ logger: Logger
    ) async throws -> NIOLoopBound<SentinelWatcher>? {
        guard case .sentinel(let group) = redis else { return nil }
        let eventLoop = links[0].eventLoop
        return try await eventLoop.submit {
            let watcher = SentinelWatcher(group: group, eventLoop: eventLoop) { event in
                event.log(to: logger)
                for link in links { link.execute { $0.hear(event) } }
            }
            return NIOLoopBound(watcher, eventLoop: eventLoop)
        }.get()
    }
}

extension RedisLink {
    fileprivate func hear(_ event: SentinelEvent) {
        switch event {
        case .master(let endpoint, _): move(to: endpoint)
        case .demoted(let text): leaveReplica(saying: text)
        case .unknownName(let name): cannotFindServer(because: .refused("no Sentinel knows a master named \(name)"))
        case .noAnswer(let failure): cannotFindServer(because: .unreachable("no Sentinel answers: \(failure.detail)"))
        case .answering, .dissent: break
        }
    }
}

extension SentinelEvent {
    fileprivate func log(to logger: Logger) {
        switch self {
        case .master(let endpoint, let former):
            logger.notice(
                "following the master that the Sentinels name",
                metadata: ["master": "\(endpoint.address)", "formerly": "\(former.map { "\($0)" } ?? "")"]
            )
        // The line that says that Redis is away says why.
        case .demoted: break
        case .unknownName(let name):
            logger.error("cannot find the master: no Sentinel knows this name", metadata: ["name": "\(name)"])
        case .noAnswer(let failure):
            logger.warning("no Sentinel answers: a failover goes unseen", metadata: ["detail": "\(failure.detail)"])
        case .answering: logger.notice("Sentinels answer again")
        case .dissent(let sentinel, let master):
            logger.warning(
                "a Sentinel names another server than the master that is followed",
                metadata: ["sentinel": "\(sentinel)", "named": "\(master)"]
            )
        }
    }
}
