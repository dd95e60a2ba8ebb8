import HTTPPosts
import RateLimitCore
import RedisClient

/// Every option of the daemon, once, in the order in which they are listed.
///
/// Variables, flags, help, `config`, `/v1/config` and the error texts all come from here. A new option is a case of
/// `OptionName`, a property of `Settings` with its default, an entry here, and a flag in the command's `OptionFlags`.
public enum OptionCatalogue {
    /// All options, group by group.
    public static let all: [OptionDefinition] =
        limit + limits + redis + listening + grpc + auth + bounds + operating + tracing

    /// The definition of one option.
    public static subscript(name: OptionName) -> OptionDefinition {
        // A test holds that every name has its definition.
        byName[name]!
    }

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    private static let limit: [OptionDefinition] = [
        OptionDefinition(
            .requests, in: .limit, \.requests,
            .wholeNumber(in: 0...1_000_000_000, note: "0 switches the limit off"), reloadable: true,
            summary: "How much one user may spend in a window."),
        OptionDefinition(
            .window, in: .limit, \.windowSeconds, .seconds(in: 1...31_536_000), reloadable: true,
            summary: "The length of the sliding window."),
        OptionDefinition(
            .shadow, in: .limit, \.isShadow, .yesOrNo, reloadable: true,
            summary: "Decide and count, but allow every check."),
        OptionDefinition(
            .failureMode, in: .limit, \.failureMode, .oneOf, reloadable: true,
            summary: "What to answer while Redis cannot decide."),
        OptionDefinition(
            .replicas, in: .limit, \.replicas, .wholeNumber(in: 1...10_000), reloadable: true,
            summary: "How many daemons share the limit in failure mode local."),
        OptionDefinition(
            .denyCache, in: .limit, \.denyCacheMilliseconds,
            .wholeNumber(in: 0...60_000, unit: "ms", note: "0 asks Redis every time"), reloadable: true,
            summary: "How long a denial may be repeated from memory."),
    ]

    private static let limits: [OptionDefinition] = [
        OptionDefinition(
            .limitsFile, in: .limits, \.limitsFile, .orNone(.limitsFile, meaning: "no more limits"), reloadable: true,
            summary: "A file of further limits and prices; a change of it is read."),
        OptionDefinition(
            .groups, in: .limits, \.groups, .oneOf, reloadable: true,
            summary: "Whose groups count: those kept, or those a call gives."),
        OptionDefinition(
            .perSecond, in: .limits, \.requestsPerSecond,
            .wholeNumber(in: 0...1_000_000_000, note: "0 switches the limit off"), reloadable: true,
            summary: "How much one user may spend in a second."),
        OptionDefinition(
            .maxConcurrency, in: .limits, \.maxConcurrency,
            .wholeNumber(in: 0...1_000_000, note: "0 switches the limit off"), reloadable: true,
            summary: "How many reserved calls may be under way, of all users."),
    ]

    private static let redis: [OptionDefinition] = [
        OptionDefinition(
            .redisURL, in: .redis, \.redisURL, .redisURL, masking: { RedisTopology.masked($0) },
            summary: "Where Redis listens, and as whom to log in."),
        OptionDefinition(
            .redisUserFile, in: .redis, \.redisUserFile, .orNone(.secretFile, meaning: "the URL's user"),
            summary: "A file with the Redis user, in place of the URL's."),
        OptionDefinition(
            .redisPasswordFile, in: .redis, \.redisPasswordFile, .orNone(.secretFile, meaning: "the URL's password"),
            summary: "A file with the Redis password, in place of the URL's."),
        OptionDefinition(
            .sentinelUser, in: .redis, \.sentinelUser, .orNone(.userName, meaning: "Redis's default user"),
            summary: "As whom to log in to the Sentinels."),
        OptionDefinition(
            .sentinelPasswordFile, in: .redis, \.sentinelPasswordFile, .orNone(.secretFile, meaning: "no login"),
            summary: "A file with the Sentinels' password."),
        OptionDefinition(
            .redisCAFile, in: .redis, \.redisTLS.authoritiesFile,
            .orNone(.pemFile, meaning: "the system's authorities"),
            summary: "A file of authorities that vouch for Redis, for TLS."),
        OptionDefinition(
            .redisCertificateFile, in: .redis, \.redisTLS.certificateFile, .orNone(.pemFile, meaning: "none"),
            summary: "A file with this client's certificate, for TLS."),
        OptionDefinition(
            .redisKeyFile, in: .redis, \.redisTLS.keyFile, .orNone(.pemFile, meaning: "none"),
            summary: "A file with that certificate's key."),
        OptionDefinition(
            .redisServerName, in: .redis, \.redisTLS.serverName, .orNone(.hostName, meaning: "the URL's host"),
            summary: "The name that Redis's certificate must be for."),
        OptionDefinition(
            .redisTLSVerify, in: .redis, \.redisTLS.verifiesServer, .yesOrNo,
            summary: "Whether Redis must prove by TLS who it is."),
        OptionDefinition(
            .redisTimeout, in: .redis, \.redisTimeoutMilliseconds, .wholeNumber(in: 1...60_000, unit: "ms"),
            summary: "The deadline of a whole decision."),
        OptionDefinition(
            .keyPrefix, in: .redis, \.keyPrefix, .keyPrefix,
            summary: "What the Redis key of a user begins with."),
    ]

    private static let listening: [OptionDefinition] = [
        OptionDefinition(
            .socket, in: .listening, \.socketPath, .socketPath,
            summary: "The Unix socket that answers checks."),
        OptionDefinition(
            .socketMode, in: .listening, \.socketMode, .fileMode,
            summary: "Who may connect to it: its permission bits."),
        OptionDefinition(
            .socketGroup, in: .listening, \.socketGroup, .orNone(.groupName, meaning: "the daemon's own group"),
            summary: "The group that owns it."),
        OptionDefinition(
            .adminSocket, in: .listening, \.adminSocketPath, .orNone(.socketPath, meaning: "no admin socket"),
            summary: "The Unix socket, mode 0600, that also answers resets."),
        OptionDefinition(
            .allowedUIDs, in: .listening, \.allowedUsers,
            .orNone(.allowedUsers, meaning: "everybody whom the modes let in"),
            summary: "The users who may connect to these sockets."),
        OptionDefinition(
            .listen, in: .listening, \.listenAddress, .orNone(.listenAddress, meaning: "no TCP"),
            summary: "A TCP address for probes and Prometheus."),
        OptionDefinition(
            .listenPublic, in: .listening, \.isListenPublic, .yesOrNo,
            summary: "Let that address be reached from other machines."),
        OptionDefinition(
            .headers, in: .listening, \.quotaHeaders, .oneOf, reloadable: true,
            summary: "Which headers of an answer say how a quota stands."),
    ]

    private static let grpc: [OptionDefinition] = [
        OptionDefinition(
            .grpcSocket, in: .grpc, \.grpcSocketPath, .orNone(.socketPath, meaning: "no such socket"),
            summary: "The Unix socket that speaks gRPC."),
        OptionDefinition(
            .grpcListen, in: .grpc, \.grpcListenAddress, .orNone(.listenAddress, meaning: "no TCP"),
            summary: "A TCP address that speaks gRPC."),
        OptionDefinition(
            .grpcCertificateFile, in: .grpc, \.grpcCertificateFile, .orNone(.pemFile, meaning: "no TLS"),
            summary: "A file with the certificate shown there, for TLS."),
        OptionDefinition(
            .grpcKeyFile, in: .grpc, \.grpcKeyFile, .orNone(.pemFile, meaning: "none"),
            summary: "A file with that certificate's key."),
        OptionDefinition(
            .grpcClientCAFile, in: .grpc, \.grpcClientAuthoritiesFile,
            .orNone(.pemFile, meaning: "clients without certificates"),
            summary: "A file of authorities that must vouch for clients."),
        OptionDefinition(
            .envoyConfig, in: .grpc, \.envoyConfiguration, .orNone(.envoyConfiguration, meaning: "no domains"),
            reloadable: true,
            summary: "envoyproxy/ratelimit's files; a change of them is read."),
    ]

    private static let auth: [OptionDefinition] = [
        OptionDefinition(
            .authUserHeader, in: .auth, \.authUserHeader, .orNone(.headerName, meaning: "no such header"),
            reloadable: true, summary: "The header that names the user at /v1/auth."),
        OptionDefinition(
            .authHeaders, in: .auth, \.authHeaders, .orEmpty(.headerMap, empty: .none, meaning: "none"),
            reloadable: true, summary: "Which headers have group, model and labels there."),
        OptionDefinition(
            .authIDHeader, in: .auth, \.authIDHeader, .orNone(.headerName, meaning: "no such header"),
            reloadable: true, summary: "The header with the gateway's own id of each call there."),
        OptionDefinition(
            .authSecretFile, in: .auth, \.authSecret, .orNone(.authSecret, meaning: "no tokens"), reloadable: true,
            summary: "A file with the secret by which tokens are hashed there."),
        OptionDefinition(
            .trustedProxies, in: .auth, \.trustedProxies, .orEmpty(.trustedProxies, empty: .none, meaning: "nobody"),
            reloadable: true, summary: "Whose X-Forwarded-For is believed there."),
    ]

    private static let bounds: [OptionDefinition] = [
        OptionDefinition(
            .threads, in: .bounds, \.threads, .wholeNumber(in: 1...64),
            summary: "Event loops, each with its own link to Redis."),
        OptionDefinition(
            .maxConnections, in: .bounds, \.maxConnections, .wholeNumber(in: 1...100_000),
            summary: "Connections served at a time."),
        OptionDefinition(
            .maxQueue, in: .bounds, \.maxQueue, .wholeNumber(in: 1...1_000_000),
            summary: "Checks of an event loop that may wait for Redis."),
        OptionDefinition(
            .requestTimeout, in: .bounds, \.requestTimeoutMilliseconds, .wholeNumber(in: 100...600_000, unit: "ms"),
            summary: "How long a request may take to arrive whole."),
        OptionDefinition(
            .drainTimeout, in: .bounds, \.drainTimeoutMilliseconds, .wholeNumber(in: 0...600_000, unit: "ms"),
            summary: "How long connections are served after SIGTERM."),
    ]

    private static let operating: [OptionDefinition] = [
        OptionDefinition(
            .logLevel, in: .operating, \.logLevel, .oneOf, reloadable: true,
            summary: "The least severe level that is logged."),
        OptionDefinition(
            .logFormat, in: .operating, \.logFormat, .oneOf,
            summary: "How log lines are written."),
        OptionDefinition(
            .logUsers, in: .operating, \.logUsers, .oneOf, reloadable: true,
            summary: "How a user appears in log lines."),
        OptionDefinition(
            .eventsWebhook, in: .operating, \.eventsWebhook, .orNone(.webhookURL, meaning: "no webhook"),
            reloadable: true, masking: { maskedWebhook($0) },
            summary: "Where thresholds that are crossed are posted to."),
        OptionDefinition(
            .eventsWebhookSecretFile, in: .operating, \.eventsWebhookSecret,
            .orNone(.webhookSecret, meaning: "no signatures"), reloadable: true,
            summary: "A file with the secret by which these posts are signed."),
        OptionDefinition(
            .envFile, in: .operating, \.envFile, .orNone(.filePath, meaning: "no file"),
            summary: "A file of these variables; SIGHUP reads it again."),
    ]

    private static let tracing: [OptionDefinition] = [
        OptionDefinition(
            .otelEndpoint, in: .tracing, \.tracing.endpoint, .orNone(.collectorURL, meaning: "no tracing"),
            summary: "Where a collector takes spans, at /v1/traces below it."),
        OptionDefinition(
            .otelTracesEndpoint, in: .tracing, \.tracing.tracesEndpoint,
            .orNone(.collectorURL, meaning: "the endpoint of all signals"),
            summary: "The same as the whole URL."),
        OptionDefinition(
            .otelProtocol, in: .tracing, \.tracing.transport, .transport,
            summary: "How it is spoken to."),
        OptionDefinition(
            .otelHeaders, in: .tracing, \.tracing.headers, .orEmpty(.postHeaders, empty: [], meaning: "none"),
            masking: { ValueSyntax<[PostHeader]>.masked($0) },
            summary: "Headers that are sent along, such as a key."),
        OptionDefinition(
            .otelCertificate, in: .tracing, \.tracing.authoritiesFile,
            .orNone(.pemFile, meaning: "the system's authorities"),
            summary: "A file of authorities that vouch for it, for TLS."),
        OptionDefinition(
            .otelTimeout, in: .tracing, \.tracing.timeoutMilliseconds, .wholeNumber(in: 1...600_000, unit: "ms"),
            summary: "How long it may take to answer."),
        OptionDefinition(
            .otelServiceName, in: .tracing, \.tracing.serviceName,
            .orNone(.serviceName, meaning: "llm-rate-limit"),
            summary: "What the daemon is called there."),
        OptionDefinition(
            .otelResourceAttributes, in: .tracing, \.tracing.resource,
            .orEmpty(.attributes, empty: AttributeList(), meaning: "none"),
            summary: "What else tells it from others there."),
        OptionDefinition(
            .otelSampler, in: .tracing, \.tracing.samplerName, .sampler,
            summary: "Which decisions become spans."),
        OptionDefinition(
            .otelSamplerArgument, in: .tracing, \.tracing.samplerShare, .orNone(.share, meaning: "1"),
            summary: "The share of traces, for samplers with ratio."),
        OptionDefinition(
            .otelDisabled, in: .tracing, \.tracing.isDisabled, .yesOrNo,
            summary: "Trace nothing, whatever the others say."),
    ]
}
