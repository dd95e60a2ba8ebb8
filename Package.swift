// swift-tools-version: 6.2
import PackageDescription

/// One set of rules for every target: Swift 6 concurrency, imports that do not leak, and no warning left standing.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// What the fuzzers run.
let fuzzed: [Target.Dependency] = [
    "DaemonConfiguration", "HTTPServer", "LimitsFile", "LoadGenerator", "RateLimitCore", "RateLimitService",
    "RedisClient",
    "TestSupport",
    .product(name: "CoreMetrics", package: "swift-metrics"),
    .product(name: "Logging", package: "swift-log"),
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOEmbedded", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]

let package = Package(
    name: "llm-rate-limit",
    products: [
        .executable(name: "llm-rate-limit", targets: ["llm-rate-limit"])
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
        .target(name: "BoundedFiles", swiftSettings: strict),
        .target(
            name: "RedisClient",
            dependencies: [
                "BoundedFiles", "CHiredis",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .target(name: "RateLimitCore", dependencies: ["CSodium"], swiftSettings: strict),
        .target(
            name: "LimitsFile",
            dependencies: ["BoundedFiles", "CYAML", "RateLimitCore"],
            swiftSettings: strict
        ),
        // For digests. swift-crypto would bring a second BoringSSL, minutes of every first build.
        .systemLibrary(name: "CSodium"),
        .target(
            name: "RateLimitService",
            dependencies: [
                "CSodium", "RateLimitCore",
                "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ],
            resources: [
                .embedInCode("Scripts/announce.lua"), .embedInCode("Scripts/heartbeat.lua"),
                .embedInCode("Scripts/budget.lua"), .embedInCode("Scripts/decide-bundle.lua"),
                .embedInCode("Scripts/decide-leases.lua"), .embedInCode("Scripts/decide-window.lua"),
                .embedInCode("Scripts/decide-values.lua"), .embedInCode("Scripts/decide-operations.lua"),
                .embedInCode("Scripts/decide-plan.lua"), .embedInCode("Scripts/decide.lua"),
                .embedInCode("Scripts/decide-hot.lua"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "HTTPServer",
            dependencies: [
                "Listeners",
                "RateLimitService",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "PrometheusMetrics",
            dependencies: [.product(name: "CoreMetrics", package: "swift-metrics")],
            swiftSettings: strict
        ),
        .target(
            name: "StructuredLog",
            dependencies: [.product(name: "Logging", package: "swift-log")],
            swiftSettings: strict
        ),
        .target(name: "Listeners", swiftSettings: strict),
        .target(
            name: "DaemonConfiguration",
            dependencies: [
                "BoundedFiles", "LimitsFile",
                "RateLimitCore",
                "RateLimitService",
                "RedisClient",
                "StructuredLog",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Configuration", package: "swift-configuration"),
            ],
            swiftSettings: strict
        ),
        .systemLibrary(name: "CProcess"),
        .executableTarget(
            name: "llm-rate-limit",
            dependencies: [
                "CProcess",
                "DaemonConfiguration",
                "HTTPServer",
                "Listeners",
                "PrometheusMetrics",
                "StructuredLog",
                "LoadGenerator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "PrometheusMetricsTests",
            dependencies: [
                "PrometheusMetrics",
                .product(name: "CoreMetrics", package: "swift-metrics"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "StructuredLogTests",
            dependencies: [
                "StructuredLog",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        .testTarget(name: "ListenersTests", dependencies: ["Listeners", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "RedisClientTests",
            dependencies: [
                "RedisClient",
                "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "RateLimitCoreTests", dependencies: ["RateLimitCore", "TestSupport"], swiftSettings: strict
        ),
        .testTarget(
            name: "LimitsFileTests", dependencies: ["LimitsFile", "RateLimitCore", "TestSupport"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "RateLimitServiceTests",
            dependencies: [
                "RateLimitService",
                "RateLimitCore",
                "RedisClient",
                "TestSupport",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "HTTPServerTests",
            dependencies: [
                "HTTPServer",
                "RateLimitService",
                "RateLimitCore",
                "RedisClient",
                "TestSupport",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "DaemonConfigurationTests",
            dependencies: [
                "BoundedFiles", "DaemonConfiguration",
                "RateLimitService",
                "RedisClient",
                "StructuredLog",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "llm-rate-limit",
                "DaemonConfiguration",
                "RateLimitCore",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        // Holds the README and the pages against the code.
        .testTarget(
            name: "DocumentationTests",
            dependencies: [
                "llm-rate-limit", "DaemonConfiguration", "HTTPServer", "LoadGenerator", "PrometheusMetrics",
                "RateLimitCore", "RateLimitService", "TestSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .systemLibrary(name: "CEpoll"),
        .target(name: "LoadGenerator", dependencies: ["CEpoll"], swiftSettings: strict),
        .executableTarget(
            name: "bench-table",
            dependencies: [
                "LoadGenerator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(name: "raw-epoll-floor"),
        .target(
            name: "TestSupport", dependencies: ["CHiredis"], path: "Tests/TestSupport", swiftSettings: strict
        ),
        .testTarget(
            name: "WindowTests",
            dependencies: [
                "RateLimitCore", "RateLimitService", "RedisClient", "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        // The fuzzers' targets, run on the inputs that are kept; scripts/fuzz builds the same sources as a fuzzer.
        .testTarget(
            name: "FuzzTests", dependencies: fuzzed + ["HTTPServerTests"], path: "Tests/Fuzz",
            exclude: ["Corpus", "Dictionaries", "Driver"], sources: ["Targets", "Replay"], swiftSettings: strict
        ),
        .testTarget(name: "LoadGeneratorTests", dependencies: ["LoadGenerator"], swiftSettings: strict),
        // Decides whether what clients saw can have happened; knows neither Redis nor the daemon.
        .target(
            name: "HistoryChecker", dependencies: ["RateLimitCore"], path: "Tests/HistoryChecker", swiftSettings: strict
        ),
        // Real processes under load and faults, with every request recorded and checked.
        .target(
            name: "FaultInjection", dependencies: ["HistoryChecker", "TestSupport"], path: "Tests/FaultInjection",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "chaos",
            dependencies: ["FaultInjection", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            path: "Tests/Chaos",
            swiftSettings: strict
        ),
        .testTarget(
            name: "HistoryTests",
            dependencies: [
                "llm-rate-limit", "FaultInjection", "HistoryChecker", "RateLimitCore", "RateLimitService",
                "RedisClient", "TestSupport", .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        // Real redis-servers, real daemons and blocking clients, for the tests that need them.
        .testTarget(
            name: "EndToEndTests", dependencies: ["llm-rate-limit", "TestSupport"], swiftSettings: strict
        ),
        // Each row of the fault matrix: a fault in real processes under load, and its figures.
        .testTarget(
            name: "FaultTests", dependencies: ["llm-rate-limit", "TestSupport"],
            // Compiled by the test that needs it, as a library of its own.
            exclude: ["Clock/clock.c"], swiftSettings: strict
        ),
        .testTarget(
            name: "ClusterTests",
            dependencies: [
                "llm-rate-limit",
                "RateLimitCore",
                "RateLimitService",
                "RedisClient",
                "TestSupport",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "SentinelTests",
            dependencies: [
                "llm-rate-limit",
                "RedisClient",
                "TestSupport",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict
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
                "HTTPServerTests/ServerPair.swift",
            ],
            swiftSettings: strict
        )
    )
}
