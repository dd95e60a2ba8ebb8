/// The words in backticks that no file of this repository can show to be right, each with the reason.
enum KnownWords {
    private static let groups: [String: [String]] = [
        "a variable of the reader's shell": ["$SOCKET"],
        "a command or an option of Redis": [
            "SET … PXAT", "MEMORY USAGE", "redis-cli MEMORY USAGE llm-rate:<uuid>", "INFO commandstats",
            "TYPE llm-rate:<uuid>",
            "TYPE llm-rate:user:<text>",
            "appendfsync always", "min-replicas-max-lag", "min-replicas-to-write", "min-replicas-to-write 1",
            "sentinel announce-hostnames yes", "sentinel monitor mymaster …", "ACL LOG",
        ],
        "a word of Redis's or the system's, in a field of a log line": [
            "detail=\"Connection refused\"", "detail=\"NOAUTH Authentication required.\"", "Connection reset by peer",
            "detail=\"OOM …\"", "detail=\"MISCONF …\"", "detail=\"NOREPLICAS …\"", "detail=\"NOPERM …\"",
            "detail=\"ERR The user executing the script can't …\"",
        ],
        "a field of a log line with one of the values that it has": ["detail=\"TLS: …\"", "reason=redis_timeout"],
        "a name of the kernel's": [
            "SCHED_BATCH", "/proc/<pid>/cmdline", "/proc/<pid>/environ", "/etc/ssl/certs",
        ],
        "a folder of the packages": ["/usr/share/doc/llm-rate-limit"],
        "a program of the system": [
            "tr -d '\\n'",
            "ps", "xxd", "promtool check rules", "systemd-analyze security",
            "sudo -u llm-rate-limit llm-rate-limit reset …",
        ],
        "what a gateway calls its asking of another service": [
            "auth_request", "ext_authz", "forwardAuth", "forward_auth",
        ],
        "a setting of a gateway that cannot be run here": [
            "HTTPRouteExternalAuthGRPC", "HTTPRouteExternalAuthHTTP", "allow_degradation", "allowedHeaders",
            "appProtocol",
            "client_headers", "envoyExtAuthzHttp", "failOpen", "headersToDownstreamOnAllow",
            "includeRequestHeadersInCheck", "pathPrefix", "request_headers", "statusOnError", "status_on_error",
            "{path: /v1/auth/-, allowedHeaders: [X-User-Id, X-Api-Key]}",
        ],
        "a variable of envoyproxy/ratelimit's": ["MERGE_DOMAIN_CONFIG", "RESPONSE_DYNAMIC_METADATA"],
        "a header that the daemon leaves alone": ["tracestate"],
        "a format of Envoy's, and what it shows": [
            "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:metadata:plan)%", "metadata: {plan: gold}",
        ],
        "a header with a value of the client's": ["Authorization: Bearer …"],
        "a path with a user in it": ["/v1/users/address:192.0.2.7"],
        "a variable that Kubernetes sets": ["LLM_RATE_LIMIT_REDIS_PORT_6379_TCP_ADDR"],
        "a setting of Kubernetes, Compose or Docker": [
            "depends_on", "docker stop", "lifecycle: {preStop: {sleep: {seconds: 25}}}", "restartPolicy: Always",
            "terminationGracePeriodSeconds",
        ],
        "a message of systemd's": ["EXTEND_TIMEOUT_USEC"],
        "a name that the program puts together": ["<socket>.lock", "limit:<limit>", "<amount>:<unit>"],
        "a key of which the program puts the parts together": [
            "{<base>}:by:<name>=<value>", "{<base>}:values", "{<base>}:values:<name>", "{<base>}:values:<name>,<name>",
            "{llm-rate:user:<text>}:by:model=gpt-4o",
        ],
        "a parameter of a query, whose name begins so": ["label.<name>"],
        "an argument of curl": ["-H 'Content-Type: application/json'"],
        "a name of swift-nio's or of the Swift runtime": [
            "BaseSocketChannel", "BaseSocketChannel.isOpen", "isOpen", "lifecycleManager", "readFromSocket",
            "swift_release", "swift_retain",
        ],
        "a folder that a script makes": [".build/address", ".build/thread", ".build/fuzz/findings/<target>"],
        "a value that is read, and stands in no source": ["7d", "20.0", "redis://user:"],
    ]

    /// Each word with its reason.
    static let reasons: [(word: String, reason: String)] = groups.flatMap { reason, words in
        words.map { (word: $0, reason: reason) }
    }

    private static let words = Set(reasons.map(\.word))

    static func isKnown(_ word: String) -> Bool { words.contains(word) }
}
