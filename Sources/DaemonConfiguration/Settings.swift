package import HTTPPosts
public import Logging
public import RateLimitCore
public import RedisClient
public import StructuredLog

/// Every setting of the daemon as a typed value that satisfies the bounds named here.
///
/// It knows nothing of variables, flags and files. `Settings()` holds the defaults.
public struct Settings: Sendable, Equatable {
    /// The path of the socket that answers checks, 1 to 107 bytes.
    public var socketPath = "/run/llm-rate-limit/llm-rate-limit.sock"
    /// The permission bits of the check socket, 0 to 0o777.
    public var socketMode: UInt16 = 0o660
    /// The group name or numeric id that owns the check socket, or nil to leave the process's own.
    public var socketGroup: String?
    /// The path of the socket for operations that change state, or nil where there is none.
    public var adminSocketPath: String? = "/run/llm-rate-limit/admin.sock"
    /// The users who may connect to either socket beside the daemon's own, or nil where the modes alone decide.
    public var allowedUsers: AllowedUsers?
    /// The TCP address that answers too, or nil. It is a loopback address unless `isListenPublic`.
    public var listenAddress: ListenAddress?
    /// Whether `listenAddress` may be reachable from other machines.
    public var isListenPublic = false
    /// Which headers of an answer say how a quota stands.
    public var quotaHeaders = QuotaHeaders.ietf

    /// The cost that is admitted in one window, 0 to 1,000,000,000; 0 switches the limit off.
    public var requests = 20
    /// The length of the window in seconds, 1 to 31,536,000.
    public var windowSeconds = 3600
    /// Whether denials are only counted and reported while every check is allowed.
    public var isShadow = false
    /// What the Redis key of a user begins with: 1 to 64 printable ASCII characters without spaces and braces.
    public var keyPrefix = "llm-rate"
    /// What a check is answered while Redis cannot decide it.
    public var failureMode = FailureMode.open
    /// How many daemons share the limit, 1 to 10,000; `FailureMode.local` divides the limit by it.
    public var replicas = 1
    /// How long a denial is answered from memory at most, 0 to 60,000 ms; 0 switches the memory off.
    public var denyCacheMilliseconds = 10_000

    /// The file of further limits as it was read, or nil.
    public var limitsFile: LimitsFileSetting?
    /// Whose groups count.
    public var groups = GroupSource.stored
    /// The cost that is admitted in one second, 0 to 1,000,000,000; 0 switches the limit off.
    public var requestsPerSecond = 0
    /// How many reserved calls of all users may be under way, 0 to 1,000,000; 0 switches the limit off.
    public var maxConcurrency = 0

    /// Where Redis is as the URL gives it, without what the other options say of login and TLS.
    public var redisURL = RedisTopology.single(
        RedisEndpoint(address: .tcp(host: "127.0.0.1", port: RedisEndpoint.defaultPort)))
    /// The file that names the Redis user, or nil.
    public var redisUserFile: SecretFile?
    /// The file that holds the Redis password, or nil.
    public var redisPasswordFile: SecretFile?
    /// The user for the Sentinels, 1 to 255 bytes, or nil for Redis's default user.
    public var sentinelUser: String?
    /// The file that holds the Sentinels' password, or nil where they ask for none.
    public var sentinelPasswordFile: SecretFile?
    /// How Redis is spoken to by TLS, where the URL asks for TLS.
    public var redisTLS = TLSOptions()
    /// The deadline of a whole decision, 1 to 60,000 ms.
    public var redisTimeoutMilliseconds = 50

    /// The path of the socket that speaks gRPC, or nil where there is none.
    public var grpcSocketPath: String?
    /// The TCP address that speaks gRPC, or nil. It is a loopback address unless `isListenPublic`.
    public var grpcListenAddress: ListenAddress?
    /// The file with the certificate chain that is shown on that address, or nil where it is spoken to in the clear.
    public var grpcCertificateFile: String?
    /// The file with that certificate's key.
    public var grpcKeyFile: String?
    /// The file of authorities that vouch for clients there, or nil where clients show no certificate.
    public var grpcClientAuthoritiesFile: String?
    /// The configuration of envoyproxy/ratelimit as it was read, or nil.
    public var envoyConfiguration: EnvoyConfigurationSetting?

    /// The header whose text is the user at `/v1/auth`, or nil for none.
    public var authUserHeader: HeaderName? = .userID
    /// Which headers have the group, the model, the provider and labels there.
    public var authHeaders = HeaderMap.none
    /// The header that the gateway sets to an id of each call there, or nil for none.
    public var authIDHeader: HeaderName?
    /// The secret by which tokens are hashed there, as it was read, or nil where tokens are passed over.
    public var authSecret: AuthSecret?
    /// Whose `X-Forwarded-For` is believed there.
    public var trustedProxies = TrustedProxies.none

    /// The number of event loops, 1 to 64.
    public var threads = 1
    /// Connections that are served at a time over all sockets, 1 to 100,000.
    public var maxConnections = 10_000
    /// Checks of one event loop that may wait for Redis, 1 to 1,000,000.
    public var maxQueue = 8192
    /// How long a request may take to arrive whole, 100 to 600,000 ms.
    public var requestTimeoutMilliseconds = 5000
    /// How long connections are served after SIGTERM, 0 to 600,000 ms.
    public var drainTimeoutMilliseconds = 5000

    /// The least severe level that is logged.
    public var logLevel = Logger.Level.info
    /// How log lines are written.
    public var logFormat = LogFormat.json
    /// How a user appears in a log line.
    public var logUsers = UserLogging.hash
    /// Where events are posted to, or nil.
    package var eventsWebhook: PostURL?
    /// By which secret they are signed there, or nil where they are not.
    public var eventsWebhookSecret: WebhookSecretSetting?
    /// The file of further variables, or nil.
    public var envFile: String?

    /// How decisions are traced.
    public var tracing = TracingSettings()

    /// The defaults.
    public init() {}

    /// Where Redis is, with logins and TLS as the other options say.
    public var redis: RedisTopology {
        var topology = redisURL
        topology.setServerLogin(userFile: redisUserFile, password: redisPasswordFile?.secret)
        topology.setSentinelLogin(user: sentinelUser, password: sentinelPasswordFile?.secret)
        topology.tls = redisTLS
        return topology
    }
}
