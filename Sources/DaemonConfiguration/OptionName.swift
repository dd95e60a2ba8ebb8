import Configuration

/// The name of one option, written as its command line flag without the dashes.
public enum OptionName: String, CaseIterable, Sendable {
    case socket = "socket"
    case socketMode = "socket-mode"
    case socketGroup = "socket-group"
    case adminSocket = "admin-socket"
    case allowedUIDs = "allowed-uids"
    case listen = "listen"
    case listenPublic = "listen-public"
    case grpcSocket = "grpc-socket"
    case grpcListen = "grpc-listen"
    case grpcCertificateFile = "grpc-cert-file"
    case grpcKeyFile = "grpc-key-file"
    case grpcClientCAFile = "grpc-client-ca-file"
    case envoyConfig = "envoy-config"
    case requests = "requests"
    case window = "window"
    case shadow = "shadow"
    case keyPrefix = "key-prefix"
    case failureMode = "failure-mode"
    case replicas = "replicas"
    case denyCache = "deny-cache-ms"
    case limitsFile = "limits-file"
    case groups = "groups"
    case perSecond = "per-second"
    case maxConcurrency = "max-concurrency"
    case redisURL = "redis-url"
    case redisUserFile = "redis-user-file"
    case redisPasswordFile = "redis-password-file"
    case sentinelUser = "sentinel-user"
    case sentinelPasswordFile = "sentinel-password-file"
    case redisCAFile = "redis-ca-file"
    case redisCertificateFile = "redis-cert-file"
    case redisKeyFile = "redis-key-file"
    case redisServerName = "redis-server-name"
    case redisTLSVerify = "redis-tls-verify"
    case redisTimeout = "redis-timeout-ms"
    case authUserHeader = "auth-user-header"
    case authHeaders = "auth-headers"
    case authIDHeader = "auth-id-header"
    case authSecretFile = "auth-secret-file"
    case trustedProxies = "trusted-proxies"
    case headers = "headers"
    case threads = "threads"
    case maxConnections = "max-connections"
    case maxQueue = "max-queue"
    case requestTimeout = "request-timeout-ms"
    case drainTimeout = "drain-timeout-ms"
    case logLevel = "log-level"
    case logFormat = "log-format"
    case logUsers = "log-users"
    case eventsWebhook = "events-webhook"
    case eventsWebhookSecretFile = "events-webhook-secret-file"
    case envFile = "env-file"
    case otelEndpoint = "otel-exporter-otlp-endpoint"
    case otelTracesEndpoint = "otel-exporter-otlp-traces-endpoint"
    case otelProtocol = "otel-exporter-otlp-protocol"
    case otelHeaders = "otel-exporter-otlp-headers"
    case otelCertificate = "otel-exporter-otlp-certificate"
    case otelTimeout = "otel-exporter-otlp-timeout"
    case otelServiceName = "otel-service-name"
    case otelResourceAttributes = "otel-resource-attributes"
    case otelSampler = "otel-traces-sampler"
    case otelSamplerArgument = "otel-traces-sampler-arg"
    case otelDisabled = "otel-sdk-disabled"

    /// What every variable of the daemon's own begins with.
    public static let variablePrefix = "LLM_RATE_LIMIT_"

    /// What those begin with that OpenTelemetry's standard names, and that other programs of the host may read too.
    public static let sharedPrefix = "OTEL_"

    /// Whether it is one of the standard's.
    public var isShared: Bool { rawValue.hasPrefix("otel-") }

    /// The environment variable, such as `LLM_RATE_LIMIT_SOCKET_MODE`.
    public var variable: String {
        (isShared ? "" : Self.variablePrefix) + rawValue.uppercased().replacing("-", with: "_")
    }

    /// The variable as tables have it: without what all of the daemon's own begin with.
    public var shortName: String {
        isShared ? variable : String(variable.dropFirst(Self.variablePrefix.count))
    }

    /// The command line flag, such as `--socket-mode`.
    public var flag: String { "--\(rawValue)" }

    /// The option's key in every configuration provider; an environment provider makes `variable` of it.
    var key: AbsoluteConfigKey { AbsoluteConfigKey(isShared ? [rawValue] : ["llm-rate-limit", rawValue]) }
}

/// The sections in which options are listed, named by their headings.
public enum OptionSection: String, CaseIterable, Sendable {
    case limit = "The limit"
    case limits = "More limits"
    case redis = "Redis"
    case listening = "Sockets"
    case grpc = "Envoy's rate limit service"
    case auth = "Forward auth"
    case bounds = "Bounds"
    case operating = "Operating"
    case tracing = "OpenTelemetry"
}
