import ArgumentParser
import DaemonConfiguration

/// Every option of the catalogue as a flag of `serve` and `config`.
///
/// ArgumentParser finds flags by the properties of a type, so each option needs its line here; names, texts and
/// defaults are the catalogue's. A test holds that no option is missing.
struct OptionFlags: ParsableArguments {
    @OptionGroup(title: OptionSection.limit.rawValue) var limit: LimitFlags
    @OptionGroup(title: OptionSection.limits.rawValue) var limits: LimitsFlags
    @OptionGroup(title: OptionSection.redis.rawValue) var redis: RedisFlags
    @OptionGroup(title: OptionSection.listening.rawValue) var listening: ListeningFlags
    @OptionGroup(title: OptionSection.grpc.rawValue) var grpc: GRPCFlags
    @OptionGroup(title: OptionSection.auth.rawValue) var auth: AuthFlags
    @OptionGroup(title: OptionSection.bounds.rawValue) var bounds: BoundFlags
    @OptionGroup(title: OptionSection.operating.rawValue) var operating: OperatingFlags
    @OptionGroup(title: OptionSection.tracing.rawValue) var tracing: TracingFlags

    /// The options that were given, as they were written.
    var given: [OptionName: String] {
        let groups: [any ParsableArguments] = [
            limit, limits, redis, listening, grpc, auth, bounds, operating, tracing,
        ]
        let options = groups.flatMap { group in
            Mirror(reflecting: group).children.compactMap { ($0.value as? Option<GivenOption?>)?.wrappedValue }
        }
        return Dictionary(options.map { ($0.name, $0.text) }, uniquingKeysWith: { _, last in last })
    }
}

struct LimitFlags: ParsableArguments {
    @Option(.requests) var requests: GivenOption?
    @Option(.window) var window: GivenOption?
    @Option(switch: .shadow) var shadow: GivenOption?
    @Option(.failureMode) var failureMode: GivenOption?
    @Option(.replicas) var replicas: GivenOption?
    @Option(.denyCache) var denyCache: GivenOption?
}

struct LimitsFlags: ParsableArguments {
    @Option(.limitsFile) var file: GivenOption?
    @Option(.groups) var groups: GivenOption?
    @Option(.perSecond) var perSecond: GivenOption?
    @Option(.maxConcurrency) var maxConcurrency: GivenOption?
}

struct RedisFlags: ParsableArguments {
    @Option(.redisURL) var url: GivenOption?
    @Option(.redisUserFile) var userFile: GivenOption?
    @Option(.redisPasswordFile) var passwordFile: GivenOption?
    @Option(.sentinelUser) var sentinelUser: GivenOption?
    @Option(.sentinelPasswordFile) var sentinelPasswordFile: GivenOption?
    @Option(.redisCAFile) var authoritiesFile: GivenOption?
    @Option(.redisCertificateFile) var certificateFile: GivenOption?
    @Option(.redisKeyFile) var keyFile: GivenOption?
    @Option(.redisServerName) var serverName: GivenOption?
    @Option(switch: .redisTLSVerify) var tlsVerify: GivenOption?
    @Option(.redisTimeout) var timeout: GivenOption?
    @Option(.keyPrefix) var keyPrefix: GivenOption?
}

struct ListeningFlags: ParsableArguments {
    @Option(.socket) var socket: GivenOption?
    @Option(.socketMode) var socketMode: GivenOption?
    @Option(.socketGroup) var socketGroup: GivenOption?
    @Option(.adminSocket) var adminSocket: GivenOption?
    @Option(.allowedUIDs) var allowedUIDs: GivenOption?
    @Option(.listen) var listen: GivenOption?
    @Option(switch: .listenPublic) var listenPublic: GivenOption?
    @Option(.headers) var headers: GivenOption?
}

struct GRPCFlags: ParsableArguments {
    @Option(.grpcSocket) var socket: GivenOption?
    @Option(.grpcListen) var listen: GivenOption?
    @Option(.grpcCertificateFile) var certificateFile: GivenOption?
    @Option(.grpcKeyFile) var keyFile: GivenOption?
    @Option(.grpcClientCAFile) var clientAuthoritiesFile: GivenOption?
    @Option(.envoyConfig) var envoyConfiguration: GivenOption?
}

struct AuthFlags: ParsableArguments {
    @Option(.authUserHeader) var userHeader: GivenOption?
    @Option(.authHeaders) var headers: GivenOption?
    @Option(.authIDHeader) var idHeader: GivenOption?
    @Option(.authSecretFile) var secretFile: GivenOption?
    @Option(.trustedProxies) var trustedProxies: GivenOption?
}

struct BoundFlags: ParsableArguments {
    @Option(.threads) var threads: GivenOption?
    @Option(.maxConnections) var maxConnections: GivenOption?
    @Option(.maxQueue) var maxQueue: GivenOption?
    @Option(.requestTimeout) var requestTimeout: GivenOption?
    @Option(.drainTimeout) var drainTimeout: GivenOption?
}

struct OperatingFlags: ParsableArguments {
    @Option(.logLevel) var logLevel: GivenOption?
    @Option(.logFormat) var logFormat: GivenOption?
    @Option(.logUsers) var logUsers: GivenOption?
    @Option(.eventsWebhook) var eventsWebhook: GivenOption?
    @Option(.eventsWebhookSecretFile) var eventsWebhookSecretFile: GivenOption?
    @Option(.envFile) var envFile: GivenOption?
}

struct TracingFlags: ParsableArguments {
    @Option(.otelEndpoint) var endpoint: GivenOption?
    @Option(.otelTracesEndpoint) var tracesEndpoint: GivenOption?
    @Option(.otelProtocol) var transport: GivenOption?
    @Option(.otelHeaders) var headers: GivenOption?
    @Option(.otelCertificate) var certificate: GivenOption?
    @Option(.otelTimeout) var timeout: GivenOption?
    @Option(.otelServiceName) var serviceName: GivenOption?
    @Option(.otelResourceAttributes) var resourceAttributes: GivenOption?
    @Option(.otelSampler) var sampler: GivenOption?
    @Option(.otelSamplerArgument) var samplerArgument: GivenOption?
    @Option(switch: .otelDisabled) var disabled: GivenOption?
}

/// An option with the text that was given for it; the configuration decides whether the text is a value.
struct GivenOption: Sendable, Equatable, CustomStringConvertible {
    let name: OptionName
    let text: String

    /// The help shows it as what the flag alone stands for.
    var description: String { text }
}

extension Option where Value == GivenOption? {
    /// The flag of an option.
    init(_ name: OptionName) {
        self.init(name: name.flagSpecification, help: name.flagHelp, transform: { GivenOption(name: name, text: $0) })
    }

    /// The flag of an option whose values are yes and no: without a value it stands for yes.
    init(switch name: OptionName) {
        self.init(
            name: name.flagSpecification, defaultAsFlag: GivenOption(name: name, text: "yes"), help: name.flagHelp,
            transform: { GivenOption(name: name, text: $0) })
    }
}

extension OptionName {
    fileprivate var flagSpecification: NameSpecification { .customLong(rawValue) }

    fileprivate var flagHelp: ArgumentHelp {
        let definition = OptionCatalogue[self]
        let suffix = definition.defaultText.isEmpty ? "" : " (default: \(definition.defaultText))"
        return ArgumentHelp("\(definition.summary)\(suffix)", valueName: definition.placeholder)
    }
}
