import Logging
import NIOCore
import RedisClient

/// Finds out where the servers are, and tells the links.
protocol TopologyWatcher: AnyObject {
    func start()
    func stop()
}

extension SentinelWatcher: TopologyWatcher {}
extension ClusterWatcher: TopologyWatcher {}

/// How the links of a ``CheckService`` find the servers that hold the windows.
extension CheckService {
    /// A link to the server that the URL names; behind Sentinels and in a cluster to none until the watcher has told it.
    static func makeLink(_ redis: RedisTopology, _ options: LinkOptions, _ eventLoop: any EventLoop) -> RedisLink {
        var options = options
        switch redis {
        case .single: return RedisLink(endpoint: redis.server, options: options, eventLoop: eventLoop)
        case .sentinel: options.requiresMaster = true
        case .cluster: break
        }
        return RedisLink(endpoint: nil, options: options, eventLoop: eventLoop)
    }

    /// What tells the links where the servers are, where the URL does not; it lives on the first event loop.
    static func makeWatcher(
        _ redis: RedisTopology, _ engines: [NIOLoopBound<CheckEngine>], _ listener: NIOLoopBound<InvalidationListener>,
        _ health: RedisHealth, _ logger: Logger
    ) async throws -> NIOLoopBound<any TopologyWatcher>? {
        let eventLoop = engines[0].eventLoop
        return try await eventLoop.submit {
            switch redis {
            case .single: nil
            case .sentinel(let group):
                NIOLoopBound(
                    SentinelWatcher(group: group, eventLoop: eventLoop) { event in
                        event.log(to: logger)
                        for engine in engines { engine.execute { $0.lanes.link?.hear(event) } }
                        listener.execute { $0.link.hear(event) }
                    },
                    eventLoop: eventLoop
                )
            case .cluster(let seeds): makeClusterWatcher(seeds, engines, listener, health)
            }
        }.get()
    }

    private static func makeClusterWatcher(
        _ seeds: [RedisEndpoint], _ engines: [NIOLoopBound<CheckEngine>],
        _ listener: NIOLoopBound<InvalidationListener>, _ health: RedisHealth
    ) -> NIOLoopBound<any TopologyWatcher>? {
        guard let router = engines[0].value.lanes.router else { preconditionFailure("a cluster has a router") }
        let watcher = ClusterWatcher(
            seeds: seeds, router: router, subscription: listener.value.link, health: health,
            publish: { map in for engine in engines { engine.execute { $0.lanes.router?.apply(map) } } }
        )
        let bound = NIOLoopBound(watcher, eventLoop: engines[0].eventLoop)
        for engine in engines {
            engine.execute { engine in
                engine.lanes.router?.mapIsDoubtful = { bound.execute { $0.mapIsDoubtful() } }
            }
        }
        return NIOLoopBound(watcher, eventLoop: engines[0].eventLoop)
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
