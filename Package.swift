// swift-tools-version: 6.2
import PackageDescription

/// The products of other packages.
extension Target.Dependency {
    static let argumentParser = product(name: "ArgumentParser", package: "swift-argument-parser")
    static let configuration = product(name: "Configuration", package: "swift-configuration")
    static let coreMetrics = product(name: "CoreMetrics", package: "swift-metrics")
    static let logging = product(name: "Logging", package: "swift-log")
    static let nioCore = product(name: "NIOCore", package: "swift-nio")
    static let nioEmbedded = product(name: "NIOEmbedded", package: "swift-nio")
    static let nioHTTP1 = product(name: "NIOHTTP1", package: "swift-nio")
    static let nioPosix = product(name: "NIOPosix", package: "swift-nio")
    static let nioSSL = product(name: "NIOSSL", package: "swift-nio-ssl")
    static let nioTLS = product(name: "NIOTLS", package: "swift-nio")
    static let serviceLifecycle = product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
    static let unixSignals = product(name: "UnixSignals", package: "swift-service-lifecycle")
}

/// What the fuzzers run.
let fuzzed: [Target.Dependency] = [
    "CNGHTTP2", "DaemonConfiguration", "DecisionTracing", "GRPCServer", "HTTPServer", "LimitsFile", "LoadGenerator",
    "RateLimitCore",
    "RateLimitService", "RedisClient", "TestSupport", .coreMetrics, .logging, .nioCore, .nioEmbedded, .nioHTTP1,
    .nioPosix,
]

let package = Package(
    name: "llm-rate-limit",
    products: [
        .executable(name: "llm-rate-limit", targets: ["llm-rate-limit"]),
        // For gateways that are written in Swift.
        .library(name: "LLMRateLimitClient", targets: ["LLMRateLimitClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        // Its default trait JSON would link full Foundation: some 50 MB in a static binary.
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(name: "CHiredis"),
        // For limits files: swift-configuration's providers tell no lines, and cannot list the keys of a file.
        .systemLibrary(name: "CYAML"),
        // For digests. swift-crypto would bring a second BoringSSL, minutes of every first build.
        .systemLibrary(name: "CSodium"),
        .systemLibrary(name: "CProcess"),
        .systemLibrary(name: "CEpoll"),
        .systemLibrary(name: "CNGHTTP2"),

        // The daemon, from the bottom up.
        .target(name: "BoundedFiles", dependencies: ["CSodium"]),
        .target(name: "TLSContexts", dependencies: ["BoundedFiles", .nioCore, .nioPosix, .nioSSL]),
        // async-http-client would bring HTTP/2 and more: minutes of every first build, and megabytes of a small program.
        .target(
            name: "HTTPPosts",
            dependencies: ["TLSContexts", .nioCore, .nioHTTP1, .nioPosix, .nioSSL, .nioTLS]
        ),
        .target(name: "Listeners", dependencies: ["TLSContexts", .coreMetrics, .logging, .nioCore, .nioSSL]),
        .target(name: "PrometheusMetrics", dependencies: [.coreMetrics]),
        .target(name: "StructuredLog", dependencies: [.logging]),
        .target(name: "RateLimitCore", dependencies: ["CSodium"]),
        .target(name: "LimitsFile", dependencies: ["BoundedFiles", "CYAML", "RateLimitCore"]),
        .target(
            name: "RedisClient",
            dependencies: ["BoundedFiles", "CHiredis", "TLSContexts", .nioCore, .nioPosix, .nioSSL, .nioTLS]
        ),
        .target(
            name: "RateLimitService",
            dependencies: ["CSodium", "RateLimitCore", "RedisClient", .coreMetrics, .logging, .nioCore],
            resources: [
                .embedInCode("Scripts/announce.lua"), .embedInCode("Scripts/heartbeat.lua"),
                .embedInCode("Scripts/budget.lua"), .embedInCode("Scripts/event.lua"),
                .embedInCode("Scripts/decide-bundle.lua"),
                .embedInCode("Scripts/decide-leases.lua"), .embedInCode("Scripts/decide-window.lua"),
                .embedInCode("Scripts/decide-values.lua"), .embedInCode("Scripts/decide-operations.lua"),
                .embedInCode("Scripts/decide-plan.lua"), .embedInCode("Scripts/decide.lua"),
                .embedInCode("Scripts/decide-hot.lua"),
            ]
        ),
        // The part of OpenTelemetry that decisions need. Its own packages would bring more than the daemon is.
        .target(
            name: "DecisionTracing",
            dependencies: [
                "HTTPPosts", "RateLimitCore", "RateLimitService", "RedisClient", .coreMetrics, .logging, .nioCore,
            ]
        ),
        .target(
            name: "EventWebhook",
            dependencies: ["CSodium", "HTTPPosts", "RateLimitService", .nioCore]
        ),
        .target(
            name: "HTTPServer",
            dependencies: [
                "DecisionTracing", "Listeners", "RateLimitCore", "RateLimitService", .coreMetrics, .logging, .nioCore,
                .nioHTTP1,
                .nioPosix,
            ]
        ),
        .target(
            name: "GRPCServer",
            dependencies: [
                "CNGHTTP2", "DecisionTracing", "HTTPServer", "Listeners", "RateLimitCore", "RateLimitService",
                .coreMetrics, .logging,
                .nioCore, .nioPosix, .nioSSL, .nioTLS,
            ],
            // What services.bin is compiled from.
            exclude: ["Protos/envoy", "Protos/google", "Protos/grpc"],
            resources: [.embedInCode("Protos/services.bin")]
        ),
        .target(
            name: "DaemonConfiguration",
            dependencies: [
                "BoundedFiles", "DecisionTracing", "EventWebhook", "HTTPPosts", "LimitsFile", "Listeners",
                "RateLimitCore",
                "RateLimitService", "RedisClient", "StructuredLog", "TLSContexts",
                .configuration, .logging,
            ]
        ),
        .target(name: "LLMRateLimitClient", dependencies: [.nioCore, .nioHTTP1, .nioPosix]),
        .executableTarget(
            name: "llm-rate-limit",
            dependencies: [
                "CProcess", "DaemonConfiguration", "DecisionTracing", "EventWebhook", "GRPCServer", "HTTPPosts",
                "HTTPServer", "LLMRateLimitClient", "LimitsFile", "Listeners", "LoadGenerator", "PrometheusMetrics",
                "RateLimitCore", "RateLimitService", "StructuredLog",
                .argumentParser, .coreMetrics, .logging, .nioCore, .nioHTTP1, .nioPosix, .serviceLifecycle,
                .unixSignals,
            ]
        ),

        // What measures it.
        .target(name: "LoadGenerator", dependencies: ["CEpoll"]),
        .executableTarget(name: "bench-table", dependencies: ["LoadGenerator", .argumentParser]),
        .executableTarget(name: "raw-epoll-floor"),

        // What the tests stand on.
        .target(name: "TestSupport", dependencies: ["CHiredis"], path: "Tests/TestSupport"),
        // Decides whether what clients saw can have happened; knows neither Redis nor the daemon.
        .target(name: "HistoryChecker", dependencies: ["RateLimitCore"], path: "Tests/HistoryChecker"),
        // Real processes under load and faults, with every request recorded and checked.
        .target(
            name: "FaultInjection", dependencies: ["HistoryChecker", "TestSupport"], path: "Tests/FaultInjection"
        ),
        .executableTarget(name: "chaos", dependencies: ["FaultInjection", .argumentParser], path: "Tests/Chaos"),

        // Tests of one module each.
        .testTarget(name: "ListenersTests", dependencies: ["Listeners", "TestSupport", .coreMetrics, .logging]),
        .testTarget(
            name: "DecisionTracingTests",
            dependencies: [
                "DecisionTracing", "HTTPPosts", "RateLimitCore", "RateLimitService", .coreMetrics, .nioCore,
            ]
        ),
        .testTarget(
            name: "HTTPPostsTests",
            dependencies: [
                "HTTPPosts", "TLSContexts", "TestSupport", .nioCore, .nioHTTP1, .nioPosix, .nioSSL,
            ]
        ),
        .testTarget(
            name: "EventWebhookTests",
            dependencies: [
                "EventWebhook", "HTTPPosts", "HTTPServer", "RateLimitCore", "RateLimitService", "TestSupport",
                .nioCore, .nioPosix,
            ]
        ),
        .testTarget(name: "TLSContextsTests", dependencies: ["TLSContexts", "TestSupport", .nioCore]),
        .testTarget(name: "PrometheusMetricsTests", dependencies: ["PrometheusMetrics", .coreMetrics]),
        .testTarget(name: "StructuredLogTests", dependencies: ["StructuredLog", .logging]),
        .testTarget(name: "RateLimitCoreTests", dependencies: ["RateLimitCore", "TestSupport"]),
        .testTarget(name: "LimitsFileTests", dependencies: ["LimitsFile", "RateLimitCore", "TestSupport"]),
        .testTarget(name: "RedisClientTests", dependencies: ["RedisClient", "TestSupport", .nioCore, .nioPosix]),
        .testTarget(
            name: "RateLimitServiceTests",
            dependencies: [
                "LimitsFile", "RateLimitCore", "RateLimitService", "RedisClient", "TestSupport", .coreMetrics, .logging,
                .nioCore, .nioPosix,
            ]
        ),
        .testTarget(
            name: "HTTPServerTests",
            dependencies: [
                "DecisionTracing", "HTTPServer", "RateLimitCore", "RateLimitService", "RedisClient", "TestSupport",
                .coreMetrics, .logging,
                .nioCore, .nioEmbedded, .nioHTTP1, .nioPosix,
            ]
        ),
        .testTarget(
            name: "GRPCServerTests",
            dependencies: [
                "CNGHTTP2", "DecisionTracing", "GRPCServer", "HTTPServer", "Listeners", "PrometheusMetrics",
                "RateLimitCore",
                "RateLimitService", "RedisClient", "TestSupport",
                .coreMetrics, .logging, .nioCore, .nioEmbedded, .nioPosix, .nioSSL,
            ],
            exclude: ["client.py"]
        ),
        .testTarget(
            name: "DaemonConfigurationTests",
            dependencies: [
                "BoundedFiles", "DaemonConfiguration", "DecisionTracing", "EventWebhook", "HTTPPosts", "LimitsFile",
                "RateLimitCore",
                "RateLimitService", "RedisClient", "StructuredLog", "TestSupport",
                .logging,
            ]
        ),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "DaemonConfiguration", "LLMRateLimitClient", "RateLimitCore", "RateLimitService", "llm-rate-limit",
                .argumentParser,
                .nioCore, .nioPosix,
            ]
        ),
        .testTarget(name: "LoadGeneratorTests", dependencies: ["LoadGenerator"]),

        // Holds the README and the pages against the code.
        .testTarget(
            name: "DocumentationTests",
            dependencies: [
                "DaemonConfiguration", "HTTPServer", "LoadGenerator", "PrometheusMetrics", "RateLimitCore",
                "RateLimitService", "TestSupport", "llm-rate-limit", .argumentParser, .nioHTTP1,
            ]
        ),
        // The fuzzers' targets, run on the inputs that are kept; scripts/fuzz builds the same sources as a fuzzer.
        .testTarget(
            name: "FuzzTests", dependencies: fuzzed + ["GRPCServerTests", "HTTPServerTests"], path: "Tests/Fuzz",
            exclude: ["Corpus", "Dictionaries", "Driver"], sources: ["Targets", "Replay"]
        ),
        // The scripts on a real redis-server, against models.
        .testTarget(
            name: "WindowTests",
            dependencies: ["RateLimitCore", "RateLimitService", "RedisClient", "TestSupport", .nioCore]
        ),
        .testTarget(
            name: "HistoryTests",
            dependencies: [
                "FaultInjection", "HistoryChecker", "RateLimitCore", "RateLimitService", "RedisClient", "TestSupport",
                "llm-rate-limit", .nioCore,
            ]
        ),
        // Real redis-servers, real daemons and blocking clients, for the tests that need them.
        .testTarget(name: "EndToEndTests", dependencies: ["LLMRateLimitClient", "TestSupport", "llm-rate-limit"]),
        // Real gateways with the files of deploy/, in front of real daemons.
        .testTarget(
            name: "GatewayTests", dependencies: ["TestSupport", "llm-rate-limit"],
            exclude: ["model.py", "otlp.py", "unix_socket.py"]),
        // The packages of deploy/, by the tools of those who install them, and the built daemon as they start it.
        .testTarget(
            name: "PackageTests", dependencies: ["DaemonConfiguration", "TestSupport", "llm-rate-limit"],
            exclude: ["helm.py"]),
        // The files of deploy/monitoring, under promtool and in a real Prometheus that scrapes real daemons.
        .testTarget(
            name: "MonitoringTests", dependencies: ["LoadGenerator", "TestSupport", "llm-rate-limit"],
            exclude: ["Rules"]),
        // The packages of scripts/package, installed on systems of the tests' own.
        .testTarget(name: "InstallTests", dependencies: ["TestSupport"]),
        // The last release, built from its tag, beside this tree's program.
        .testTarget(name: "UpgradeTests", dependencies: ["FaultInjection", "LoadGenerator", "TestSupport"]),
        // Each row of the fault matrix: a fault in real processes under load, and its figures.
        .testTarget(
            name: "FaultTests", dependencies: ["TestSupport", "llm-rate-limit"],
            // Compiled by the test that needs it, as a library of its own.
            exclude: ["Clock/clock.c"]
        ),
        .testTarget(
            name: "ClusterTests",
            dependencies: [
                "RateLimitCore", "RateLimitService", "RedisClient", "TestSupport", "llm-rate-limit", .coreMetrics,
                .logging,
                .nioCore, .nioPosix,
            ]
        ),
        // The container image of scripts/package and the Compose file, by the tools of those who run them.
        .testTarget(
            name: "ImageTests", dependencies: ["DaemonConfiguration", "TestSupport", "llm-rate-limit"],
            exclude: ["yaml-to-json.py"]),
        .testTarget(
            name: "SentinelTests",
            dependencies: ["RedisClient", "TestSupport", "llm-rate-limit", .nioCore, .nioPosix]
        ),
    ]
)

// While one part is worked on, the test targets named here are the only ones that are built.
if let named = Context.environment["LLM_RATE_LIMIT_TEST_TARGETS"] {
    let kept = named.split(separator: ",").map(String.init)
    package.targets.removeAll { $0.type == .test && !kept.contains($0.name) }
}

// A fuzzer has libFuzzer's main, and needs its sanitizer in all that it links: it is built by scripts/fuzz alone. The
// test targets go, since a source belongs to one target only.
if Context.environment["LLM_RATE_LIMIT_BUILD_FUZZER"] != nil {
    package.targets.removeAll { $0.type == .test }
    package.targets.append(
        .executableTarget(
            name: "fuzz", dependencies: fuzzed, path: "Tests", exclude: ["Fuzz/Corpus", "Fuzz/Dictionaries"],
            sources: [
                "Fuzz/Driver", "Fuzz/Targets", "HTTPServerTests/Bytes.swift", "HTTPServerTests/EmbeddedServer.swift",
                "HTTPServerTests/ServerPair.swift", "GRPCServerTests/EchoMethods.swift",
                "GRPCServerTests/EmbeddedGRPC.swift", "GRPCServerTests/Frames.swift",
            ]
        )
    )
}

// What no decision passes through is built to be small: the program that is packaged carries all its libraries.
let small: Set = [
    "BoundedFiles", "DaemonConfiguration", "EventWebhook", "HTTPPosts", "LimitsFile", "Listeners", "StructuredLog",
    "TLSContexts", "llm-rate-limit",
]

// One set of rules for every target: Swift 6 concurrency, imports that do not leak, and no warning left standing.
for target in package.targets where target.type != .system {
    target.swiftSettings = [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
    ]
    if small.contains(target.name) {
        target.swiftSettings?.append(.unsafeFlags(["-Osize"], .when(configuration: .release)))
    }
}
