/// Where Redis is, and how its servers are found: the value of `LLM_RATE_LIMIT_REDIS_URL`.
public enum RedisTopology: Sendable, Equatable {
    /// One server, whatever it is.
    case single(RedisEndpoint)
    /// The master of which Sentinels know.
    case sentinel(SentinelGroup)
    /// The masters of a Redis Cluster, found by asking one of these nodes: 1 to ``maximumHosts``.
    case cluster(seeds: [RedisEndpoint])

    /// How many hosts a URL may name.
    public static let maximumHosts = 32

    /// The longest URL that is read, in bytes.
    public static let maximumURLBytes = 4096

    /// What a URL may look like, in one line for error texts.
    public static let acceptedURLs =
        "redis[s]://[user:password@]host[:port][/database], unix://[user:password@]/path[?db=database], "
        + "redis[s]+sentinel://[user:password@]host[:port],…/master[/database] and "
        + "redis[s]+cluster://[user:password@]host[:port],…"

    /// The endpoints that the URL names.
    public var endpoints: [RedisEndpoint] {
        get {
            switch self {
            case .single(let endpoint): [endpoint]
            case .sentinel(let group): group.sentinels
            case .cluster(let seeds): seeds
            }
        }
        set {
            switch self {
            case .single(let endpoint): self = .single(newValue.first ?? endpoint)
            case .sentinel(var group):
                group.sentinels = newValue
                self = .sentinel(group)
            case .cluster: self = .cluster(seeds: newValue)
            }
        }
    }

    /// How to log in to the servers that hold keys, at the first address there is.
    public var server: RedisEndpoint {
        switch self {
        case .single(let endpoint): endpoint
        case .sentinel(let group): group.master
        // A URL names a host at least.
        case .cluster(let seeds): seeds[0]
        }
    }

    /// Changes how one logs in to the servers that hold keys: not to the Sentinels, which have logins of their own.
    public mutating func setServerLogin(userFile: SecretFile? = nil, password: Secret? = nil) {
        func set(_ endpoint: inout RedisEndpoint) {
            if let userFile { endpoint.userFile = userFile }
            if let password { endpoint.password = password }
        }
        switch self {
        case .single(var endpoint):
            set(&endpoint)
            self = .single(endpoint)
        case .sentinel(var group):
            set(&group.master)
            self = .sentinel(group)
        case .cluster(var seeds):
            for index in seeds.indices { set(&seeds[index]) }
            self = .cluster(seeds: seeds)
        }
    }

    /// How connections to all servers, the Sentinels included, are encrypted; nil where the URL does not ask for it,
    /// and then setting it does nothing.
    public var tls: TLSOptions? {
        get { server.tls }
        set {
            guard let newValue, server.tls != nil else { return }
            endpoints = endpoints.map { endpoint in
                var endpoint = endpoint
                endpoint.tls = newValue
                return endpoint
            }
            guard case .sentinel(var group) = self else { return }
            group.master.tls = newValue
            self = .sentinel(group)
        }
    }
}

extension RedisTopology {
    /// Changes how one logs in to the Sentinels; where there are none, nothing.
    public mutating func setSentinelLogin(user: String?, password: Secret?) {
        guard case .sentinel(var group) = self else { return }
        for index in group.sentinels.indices {
            group.sentinels[index].user = user
            group.sentinels[index].password = password
        }
        self = .sentinel(group)
    }
}

/// Sentinels, and the master that they watch.
public struct SentinelGroup: Sendable, Equatable {
    /// The Sentinels, 1 to ``RedisTopology/maximumHosts``, with the login for the Sentinels themselves.
    public var sentinels: [RedisEndpoint]
    /// The name under which the Sentinels know the master, 1 to 255 bytes.
    public var masterName: String
    /// How to log in to the master, and its database; its address is a placeholder until a Sentinel has told it.
    public var master: RedisEndpoint

    /// The port of a Sentinel whose address names none.
    public static let defaultPort = 26_379

    /// A group; the bounds named at the properties are the caller's to keep.
    public init(sentinels: [RedisEndpoint], masterName: String, master: RedisEndpoint) {
        self.sentinels = sentinels
        self.masterName = masterName
        self.master = master
    }
}

extension RedisTopology: CustomStringConvertible {
    /// The URL with the password masked: `redis://user:***@host:6379/0`.
    public var description: String {
        switch self {
        case .single(let endpoint): return endpoint.description
        case .sentinel(let group):
            let scheme = group.master.tls == nil ? "redis+sentinel" : "rediss+sentinel"
            let name = PercentCoding.encode(group.masterName)
            return "\(scheme)://\(group.master.loginText)\(hosts)/\(name)/\(group.master.database)"
        case .cluster:
            let scheme = server.tls == nil ? "redis+cluster" : "rediss+cluster"
            return "\(scheme)://\(server.loginText)\(hosts)"
        }
    }

    private var hosts: String { endpoints.map(\.address.description).joined(separator: ",") }
}
