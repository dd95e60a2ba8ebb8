import Logging
import RateLimitCore
import RateLimitService
import RedisClient
import StructuredLog
import Testing

@testable import DaemonConfiguration

@Suite("The options")
struct OptionTests {
    @Test("are each in the catalogue once, with texts that fit a line")
    func catalogue() {
        #expect(OptionCatalogue.all.map(\.name).count == OptionName.allCases.count)
        #expect(Set(OptionCatalogue.all.map(\.name)) == Set(OptionName.allCases))
        for option in OptionCatalogue.all {
            #expect(option.summary.hasSuffix(".") && option.summary.count <= 60, "\(option.name)")
            #expect(!option.accepted.isEmpty && !option.placeholder.isEmpty, "\(option.name)")
            #expect(OptionCatalogue[option.name].name == option.name)
        }
    }

    @Test("have the variables, flags and defaults that operators rely on")
    func contract() {
        let defaults = OptionCatalogue.all.map { "\($0.name.variable) \($0.name.flag)=\($0.defaultText)" }.sorted()
        #expect(
            defaults == [
                "LLM_RATE_LIMIT_ADMIN_SOCKET --admin-socket=/run/llm-rate-limit/admin.sock",
                "LLM_RATE_LIMIT_ALLOWED_UIDS --allowed-uids=",
                "LLM_RATE_LIMIT_AUTH_HEADERS --auth-headers=",
                "LLM_RATE_LIMIT_AUTH_ID_HEADER --auth-id-header=",
                "LLM_RATE_LIMIT_AUTH_SECRET_FILE --auth-secret-file=",
                "LLM_RATE_LIMIT_AUTH_USER_HEADER --auth-user-header=X-User-Id",
                "LLM_RATE_LIMIT_DENY_CACHE_MS --deny-cache-ms=10000",
                "LLM_RATE_LIMIT_DRAIN_TIMEOUT_MS --drain-timeout-ms=5000",
                "LLM_RATE_LIMIT_ENVOY_CONFIG --envoy-config=",
                "LLM_RATE_LIMIT_ENV_FILE --env-file=",
                "LLM_RATE_LIMIT_EVENTS_WEBHOOK --events-webhook=",
                "LLM_RATE_LIMIT_EVENTS_WEBHOOK_SECRET_FILE --events-webhook-secret-file=",
                "LLM_RATE_LIMIT_FAILURE_MODE --failure-mode=open",
                "LLM_RATE_LIMIT_GROUPS --groups=stored",
                "LLM_RATE_LIMIT_GRPC_CERT_FILE --grpc-cert-file=",
                "LLM_RATE_LIMIT_GRPC_CLIENT_CA_FILE --grpc-client-ca-file=",
                "LLM_RATE_LIMIT_GRPC_KEY_FILE --grpc-key-file=",
                "LLM_RATE_LIMIT_GRPC_LISTEN --grpc-listen=",
                "LLM_RATE_LIMIT_GRPC_SOCKET --grpc-socket=",
                "LLM_RATE_LIMIT_HEADERS --headers=ietf",
                "LLM_RATE_LIMIT_KEY_PREFIX --key-prefix=llm-rate",
                "LLM_RATE_LIMIT_LIMITS_FILE --limits-file=",
                "LLM_RATE_LIMIT_LISTEN --listen=",
                "LLM_RATE_LIMIT_LISTEN_PUBLIC --listen-public=no",
                "LLM_RATE_LIMIT_LOG_FORMAT --log-format=json",
                "LLM_RATE_LIMIT_LOG_LEVEL --log-level=info",
                "LLM_RATE_LIMIT_LOG_USERS --log-users=hash",
                "LLM_RATE_LIMIT_MAX_CONCURRENCY --max-concurrency=0",
                "LLM_RATE_LIMIT_MAX_CONNECTIONS --max-connections=10000",
                "LLM_RATE_LIMIT_MAX_QUEUE --max-queue=8192",
                "LLM_RATE_LIMIT_PER_SECOND --per-second=0",
                "LLM_RATE_LIMIT_REDIS_CA_FILE --redis-ca-file=",
                "LLM_RATE_LIMIT_REDIS_CERT_FILE --redis-cert-file=",
                "LLM_RATE_LIMIT_REDIS_KEY_FILE --redis-key-file=",
                "LLM_RATE_LIMIT_REDIS_PASSWORD_FILE --redis-password-file=",
                "LLM_RATE_LIMIT_REDIS_SERVER_NAME --redis-server-name=",
                "LLM_RATE_LIMIT_REDIS_TIMEOUT_MS --redis-timeout-ms=50",
                "LLM_RATE_LIMIT_REDIS_TLS_VERIFY --redis-tls-verify=yes",
                "LLM_RATE_LIMIT_REDIS_URL --redis-url=redis://127.0.0.1:6379/0",
                "LLM_RATE_LIMIT_REDIS_USER_FILE --redis-user-file=",
                "LLM_RATE_LIMIT_REPLICAS --replicas=1",
                "LLM_RATE_LIMIT_REQUESTS --requests=20",
                "LLM_RATE_LIMIT_REQUEST_TIMEOUT_MS --request-timeout-ms=5000",
                "LLM_RATE_LIMIT_SENTINEL_PASSWORD_FILE --sentinel-password-file=",
                "LLM_RATE_LIMIT_SENTINEL_USER --sentinel-user=",
                "LLM_RATE_LIMIT_SHADOW --shadow=no",
                "LLM_RATE_LIMIT_SOCKET --socket=/run/llm-rate-limit/llm-rate-limit.sock",
                "LLM_RATE_LIMIT_SOCKET_GROUP --socket-group=",
                "LLM_RATE_LIMIT_SOCKET_MODE --socket-mode=0660",
                "LLM_RATE_LIMIT_THREADS --threads=1",
                "LLM_RATE_LIMIT_TRUSTED_PROXIES --trusted-proxies=",
                "LLM_RATE_LIMIT_WINDOW --window=3600",
                "OTEL_EXPORTER_OTLP_CERTIFICATE --otel-exporter-otlp-certificate=",
                "OTEL_EXPORTER_OTLP_ENDPOINT --otel-exporter-otlp-endpoint=",
                "OTEL_EXPORTER_OTLP_HEADERS --otel-exporter-otlp-headers=",
                "OTEL_EXPORTER_OTLP_PROTOCOL --otel-exporter-otlp-protocol=http/protobuf",
                "OTEL_EXPORTER_OTLP_TIMEOUT --otel-exporter-otlp-timeout=10000",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT --otel-exporter-otlp-traces-endpoint=",
                "OTEL_RESOURCE_ATTRIBUTES --otel-resource-attributes=",
                "OTEL_SDK_DISABLED --otel-sdk-disabled=no",
                "OTEL_SERVICE_NAME --otel-service-name=",
                "OTEL_TRACES_SAMPLER --otel-traces-sampler=parentbased_always_on",
                "OTEL_TRACES_SAMPLER_ARG --otel-traces-sampler-arg=",
            ])
        #expect(
            Set(OptionCatalogue.all.filter(\.isReloadable).map(\.name)) == [
                .requests, .window, .shadow, .failureMode, .replicas, .logLevel, .logUsers, .denyCache, .limitsFile,
                .groups, .envoyConfig, .perSecond, .maxConcurrency, .authUserHeader, .authHeaders, .authIDHeader,
                .authSecretFile, .trustedProxies, .headers, .eventsWebhook, .eventsWebhookSecretFile,
            ])
    }

    @Test("read their own defaults back")
    func defaultsAreAccepted() throws {
        for option in OptionCatalogue.all {
            var settings = Settings()
            if !option.defaultText.isEmpty || option.accepted.contains("or nothing") {
                try option.apply(option.defaultText, &settings)
            }
            #expect(settings == Settings(), "\(option.name)")
        }
    }

    @Test("accept every form of a value, and show it in one", arguments: accepted)
    func accepts(option: OptionName, text: String, shown: String) throws {
        let configuration = try load([option: text])
        #expect(configuration[option].value == shown)
        #expect(configuration[option].source == .environment)
    }

    @Test("refuse other values with what is accepted", arguments: refused)
    func refuses(option: OptionName, text: String) throws {
        let error = try #require(throws: ConfigurationError.self) { try load([option: text]) }
        let problem = try #require(error.problems.first)
        #expect(error.problems.count == 1)
        #expect(problem.option == option)
        #expect("\(problem)".hasPrefix("cannot use \(option.variable)="))
        #expect("\(problem)".contains(": ") && "\(problem)".contains("accepted are "))
        #expect(!"\(problem)".contains("\n"))
    }

    @Test("that are paths are refused with a line feed or blanks around them, with the reason", arguments: pathOptions)
    func paths(option: OptionName) throws {
        for (text, reason) in [
            ("/run/x\n", "it ends in a line feed"), ("/run/x\r\n", "it ends in a line feed"),
            (" /run/x", "it begins with a blank"), ("/run/x ", "it ends in a blank"),
            ("/run/x\u{A0}", "it ends in a blank"), ("\u{FEFF}/run/x", "it begins with a blank"),
            ("/run/\u{7}x", "it holds a control character"), ("/run/a\nb", "it holds a control character"),
        ] {
            let error = try #require(throws: ConfigurationError.self) { try load([option: text]) }
            #expect(error.problems.map(\.option) == [option] && error.problems.map(\.reason) == [reason], "\(text)")
        }
    }

    @Test(
        "that are names are refused where a tool wrote that there is none, or yes or no",
        arguments: [.keyPrefix, .socketGroup, .redisServerName, .authUserHeader, .authIDHeader] as [OptionName],
        ["null", "None", "~", "false", "True", "<no value>"])
    func noWords(option: OptionName, word: String) throws {
        let error = try #require(throws: ConfigurationError.self) { try load([option: word]) }
        #expect(error.problems.map(\.reason) == ["tools write \(word) for no value, or for yes and no"])
    }

    @Test(
        "that are paths are refused where a tool wrote that there is none, or yes or no", arguments: pathOptions,
        ["null", "None", "~", "false", "True", "<no value>"])
    func noPaths(option: OptionName, word: String) throws {
        let error = try #require(throws: ConfigurationError.self) { try load([option: word]) }
        let reason = "tools write \(word) for no value, or for yes and no; a file of that name is ./\(word)"
        #expect(error.problems.map(\.option) == [option] && error.problems.map(\.reason) == [reason])
    }

    @Test("refuse a mode that a YAML tool has turned into decimal, and say what it was")
    func decimalMode() throws {
        for (text, mode) in [("432", "0660"), ("438", "0666"), ("511", "0777"), ("384", "0600"), ("56", "0070")] {
            let error = try #require(throws: ConfigurationError.self) { try load([.socketMode: text]) }
            #expect(
                error.description == "cannot use LLM_RATE_LIMIT_SOCKET_MODE=\(text): \(text) is \(mode) in decimal, as "
                    + "YAML tools write a mode without quotes; accepted are octal modes of four digits from 0000 to 0777, "
                    + "such as 0660")
        }
    }

    @Test("say of a limits file what is accepted at the line that is wrong")
    func limitsFileLine() throws {
        let folder = TemporaryFolder()
        let file = folder.write(
            "limits", "limits:\n  - {name: a, per: user, unit: requests, quota: 1, window: 1h, mode: maybe}\n")
        let error = try #require(throws: ConfigurationError.self) { try load([.limitsFile: file]) }
        #expect(
            error.description == "cannot use LLM_RATE_LIMIT_LIMITS_FILE=\(file): line 2: mode of limit a is maybe; "
                + "accepted are enforce, shadow and soft")
    }

    @Test("become typed settings")
    func settings() throws {
        let settings = try load([
            .socketMode: "0600", .window: "30m", .shadow: "1", .failureMode: "local", .listen: "[::1]:8089",
            .redisURL: "unix://u:p@/r.sock?db=2", .logLevel: "warning", .logFormat: "text", .adminSocket: "",
        ]).settings
        #expect(settings.socketMode == 0o600)
        #expect(settings.windowSeconds == 1800)
        #expect(settings.isShadow)
        #expect(settings.failureMode == .local)
        #expect(settings.listenAddress?.host == "::1")
        #expect(settings.listenAddress?.port == 8089)
        #expect(settings.redis.server.address == .unix(path: "/r.sock"))
        #expect(settings.redis.server.password == Secret("p"))
        #expect(settings.logLevel == .warning)
        #expect(settings.logFormat == .text)
        #expect(settings.adminSocketPath == nil)
        #expect(settings.allowedUsers == nil)
    }

    @Test("name users by number or by name, and say which name is none")
    func allowedUsers() throws {
        #expect(try load([.allowedUIDs: "root,33,33,daemon"]).settings.allowedUsers?.numbers == [0, 1, 33])
        let error = try #require(throws: ConfigurationError.self) { try load([.allowedUIDs: "root,nosuch"]) }
        #expect(
            "\(error)" == "cannot use LLM_RATE_LIMIT_ALLOWED_UIDS=root,nosuch: there is no user nosuch; accepted are "
                + "1 to 64 user names or numbers with commas between them, or nothing for everybody whom the modes let in"
        )
        let both = try load([.allowedUIDs: "root", .listen: "127.0.0.1:8089"])
        #expect(
            both.warnings == [
                "LLM_RATE_LIMIT_ALLOWED_UIDS does not hold on LLM_RATE_LIMIT_LISTEN=127.0.0.1:8089: TCP knows no users"
            ])
    }
}

private func load(_ values: [OptionName: String]) throws(ConfigurationError) -> ResolvedConfiguration {
    let environment = Dictionary(uniqueKeysWithValues: values.map { ($0.key.variable, $0.value) })
    return try ConfigurationLoader(environment: environment).load()
}

private let pathOptions: [OptionName] = [
    .socket, .adminSocket, .limitsFile, .envFile, .redisUserFile, .redisPasswordFile, .sentinelPasswordFile,
    .redisCAFile, .redisCertificateFile, .redisKeyFile, .authSecretFile,
]

private let accepted: [(OptionName, String, String)] = [
    (.socket, "s", "s"), (.socket, String(repeating: "a", count: 107), String(repeating: "a", count: 107)),
    (.socketMode, "0000", "0000"), (.socketMode, "0600", "0600"), (.socketMode, "0777", "0777"),
    (.socketMode, "0007", "0007"), (.socketMode, "0070", "0070"), (.socketMode, "0432", "0432"),
    (.socketGroup, "", ""), (.socketGroup, "www-data", "www-data"), (.socketGroup, "33", "33"),
    (.adminSocket, "", ""), (.adminSocket, "/a", "/a"),
    (.allowedUIDs, "", ""), (.allowedUIDs, "0", "0"), (.allowedUIDs, "4294967294", "4294967294"),
    (.allowedUIDs, "33,root,daemon", "33,root,daemon"),
    (.listen, "", ""), (.listen, "127.0.0.1:8089", "127.0.0.1:8089"), (.listen, "localhost:1", "localhost:1"),
    (.listen, "[::1]:65535", "[::1]:65535"), (.listen, "127.9.9.9:0", "127.9.9.9:0"),
    (.listenPublic, "yes", "yes"), (.listenPublic, "false", "no"),
    (.listenPublic, "on", "yes"), (.listenPublic, "True", "yes"), (.redisTLSVerify, "FALSE", "no"),
    (.redisTLSVerify, "Off", "no"),
    (.requests, "0", "0"), (.requests, "1000000000", "1000000000"), (.requests, "007", "7"),
    (.requests, "1e+06", "1000000"), (.requests, "1.234567e+06", "1234567"), (.requests, "1E3", "1000"),
    (.requests, "1000.0", "1000"), (.requests, "10.00e1", "100"), (.threads, "2.0", "2"), (.window, "3.6e+03", "3600"),
    (.window, "1", "1"), (.window, "31536000", "31536000"), (.window, "90s", "90"), (.window, "30m", "1800"),
    (.window, "1h", "3600"), (.window, "365d", "31536000"),
    (.shadow, "yes", "yes"), (.shadow, "true", "yes"), (.shadow, "1", "yes"), (.shadow, "0", "no"),
    (.headers, "ietf", "ietf"), (.headers, "x", "x"), (.headers, "both", "both"), (.headers, "none", "none"),
    (.keyPrefix, "a", "a"), (.keyPrefix, "team:rate/1", "team:rate/1"),
    (.keyPrefix, String(repeating: "k", count: 64), String(repeating: "k", count: 64)),
    (.failureMode, "open", "open"), (.failureMode, "closed", "closed"), (.failureMode, "local", "local"),
    (.replicas, "1", "1"), (.replicas, "10000", "10000"),
    (.denyCache, "0", "0"), (.denyCache, "60000", "60000"),
    (.redisURL, "redis://u:p@h", "redis://u:***@h:6379/0"), (.redisURL, "unix:///r", "unix:///r?db=0"),
    (.redisURL, "rediss://u:p@h", "rediss://u:***@h:6379/0"),
    (.redisURL, "redis+cluster://u:p@h1:7000,h2", "redis+cluster://u:***@h1:7000,h2:6379"),
    (.redisUserFile, "", ""), (.redisPasswordFile, "", ""),
    (.redisCAFile, "", ""), (.redisCAFile, "/ca", "/ca"), (.redisCertificateFile, "", ""), (.redisKeyFile, "", ""),
    (.redisServerName, "", ""), (.redisServerName, "redis.example.com", "redis.example.com"),
    (.redisServerName, "7.redis-1_a", "7.redis-1_a"), (.redisTLSVerify, "no", "no"), (.redisTLSVerify, "yes", "yes"),
    (.redisURL, "redis+sentinel://u:p@h1,h2:1/m", "redis+sentinel://u:***@h1:26379,h2:1/m/0"),
    (.sentinelPasswordFile, "", ""),
    (.sentinelUser, "", ""), (.sentinelUser, "watcher", "watcher"),
    (.redisTimeout, "1", "1"), (.redisTimeout, "60000", "60000"),
    (.threads, "1", "1"), (.threads, "64", "64"),
    (.maxConnections, "1", "1"), (.maxConnections, "100000", "100000"),
    (.maxQueue, "1", "1"), (.maxQueue, "1000000", "1000000"),
    (.requestTimeout, "100", "100"), (.requestTimeout, "600000", "600000"),
    (.drainTimeout, "0", "0"), (.drainTimeout, "600000", "600000"),
    (.logLevel, "trace", "trace"), (.logLevel, "critical", "critical"),
    (.logUsers, "hash", "hash"), (.logUsers, "plain", "plain"), (.logUsers, "none", "none"),
    (.logFormat, "text", "text"), (.logFormat, "json", "json"),
    (.envFile, "", ""),
]

private let refused: [(OptionName, String)] = [
    (.socket, ""), (.socket, String(repeating: "a", count: 108)),
    (.socketMode, ""), (.socketMode, "66"), (.socketMode, "0888"), (.socketMode, "1777"), (.socketMode, "00660"),
    (.socketMode, "+660"), (.socketMode, "rw-"), (.socketMode, "660"), (.socketMode, "432"), (.socketMode, "0o660"),
    (.socketMode, "0x1b"), (.socketMode, "0+12"), (.socketMode, "438"),
    (.socketGroup, "a b"), (.socketGroup, "a:b"), (.socketGroup, String(repeating: "g", count: 33)),
    (.adminSocket, String(repeating: "a", count: 108)),
    (.allowedUIDs, ","), (.allowedUIDs, "33,"), (.allowedUIDs, "33, 34"), (.allowedUIDs, "-1"), (.allowedUIDs, "+1"),
    (.allowedUIDs, "4294967295"), (.allowedUIDs, "99999999999999999999"), (.allowedUIDs, "no-such-user-here"),
    (.allowedUIDs, "root;daemon"), (.allowedUIDs, String(repeating: "0,", count: 64) + "0"),
    (.listen, "8089"), (.listen, ":8089"), (.listen, "127.0.0.1"), (.listen, "127.0.0.1:65536"),
    (.listen, "127.0.0.1:-1"), (.listen, "::1:8089"), (.listen, "[127.0.0.1]:1"), (.listen, "example.org:80"),
    (.listen, "0.0.0.0:8089"), (.listen, "[::]:8089"), (.listen, "10.0.0.1:8089"),
    (.listenPublic, ""), (.listenPublic, "y"), (.listenPublic, "yes "),
    (.requests, ""), (.requests, "abc"), (.requests, "-1"), (.requests, "+1"), (.requests, "1.5"),
    (.requests, "1000000001"), (.requests, "99999999999999999999"), (.requests, "1_000"), (.requests, " 1"),
    (.requests, "１"), (.requests, "1e"), (.requests, "e3"), (.requests, "1.5e0"), (.requests, "1e-3"),
    (.requests, "1.e3"), (.requests, ".5e1"), (.requests, "1e10"), (.requests, "1e99"), (.requests, "1e3e3"),
    (.requests, "-1e3"), (.requests, "0x10"), (.requests, "1:30"), (.requests, "1,000"), (.window, "1:30:00"),
    (.window, ""), (.window, "0"), (.window, "0s"), (.window, "h"), (.window, "31536001"), (.window, "366d"),
    (.window, "99999999d"), (.window, "1w"), (.window, "1H"), (.window, "1.5h"), (.window, "1h30m"), (.window, "-1h"),
    (.shadow, "maybe"), (.shadow, ""),
    (.headers, ""), (.headers, "X"), (.headers, "ietf,x"),
    (.keyPrefix, ""), (.keyPrefix, "a b"), (.keyPrefix, "a{b"), (.keyPrefix, "a}b"), (.keyPrefix, "a\tb"),
    (.keyPrefix, "ä"), (.keyPrefix, String(repeating: "k", count: 65)),
    (.failureMode, "Open"), (.failureMode, ""), (.failureMode, "deny"),
    (.replicas, "0"), (.replicas, "10001"),
    (.denyCache, "60001"), (.denyCache, "1s"),
    (.redisURL, ""), (.redisURL, "127.0.0.1:6379"), (.redisURL, "redis+sentinel://h"), (.redisURL, "redis://h:x"),
    (.redisUserFile, "/nonexistent"), (.redisCAFile, "a\0b"), (.redisServerName, "127.0.0.1"),
    (.redisServerName, "::1"), (.redisServerName, "a b"), (.redisServerName, String(repeating: "n", count: 254)),
    (.redisTLSVerify, "maybe"),
    (.redisPasswordFile, "/nonexistent"), (.redisPasswordFile, "/"), (.redisPasswordFile, "/dev/null"),
    (.sentinelUser, "a b"), (.sentinelUser, String(repeating: "u", count: 256)),
    (.sentinelPasswordFile, "/nonexistent"), (.sentinelPasswordFile, "/dev/null"),
    (.redisTimeout, "0"), (.redisTimeout, "60001"),
    (.threads, "0"), (.threads, "65"),
    (.maxConnections, "0"), (.maxConnections, "100001"),
    (.maxQueue, "0"), (.maxQueue, "1000001"),
    (.requestTimeout, "99"), (.requestTimeout, "600001"),
    (.drainTimeout, "600001"), (.drainTimeout, "x"),
    (.logLevel, "warn"), (.logLevel, "INFO"),
    (.logFormat, "logfmt"), (.logUsers, "sha256"), (.logUsers, ""),
    (.envFile, "/nonexistent"), (.envFile, "/"), (.envFile, "/dev/null"),
]
