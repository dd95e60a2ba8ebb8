import RateLimitService

/// The methods that are served on one event loop, by their paths.
final class MethodTable {
    /// Makes the methods of an event loop, with the engine that decides there.
    typealias Factory = @Sendable (CheckEngine) -> [(path: String, method: any UnaryMethod)]

    /// Of one message and one answer; the paths begin with theirs.
    let unary: [any UnaryMethod]
    /// Of many messages; their paths follow.
    let streaming: [any StreamingMethod]
    let paths: MethodPaths
    let health: ServingHealth?

    init(
        unary: [(path: String, method: any UnaryMethod)],
        streaming: [(path: String, method: any StreamingMethod)] = [], health: ServingHealth? = nil
    ) {
        self.health = health
        let texts = unary.map(\.path) + streaming.map(\.path)
        self.unary = unary.map(\.method)
        self.streaming = streaming.map(\.method)
        paths = MethodPaths(texts)
    }

    /// The methods that `own` makes, and those by which tools find out about them.
    convenience init(own: Factory, engine: CheckEngine) {
        let own = own(engine)
        let services = Set(own.map { Self.service(of: $0.path) }).sorted()
        let health = ServingHealth(services: services)
        let reflection = ReflectionMethod(
            services: services + [ServingHealth.checkPath].map(Self.service) + ReflectionMethod.paths.map(Self.service))
        self.init(
            unary: own + [(ServingHealth.checkPath, HealthCheckMethod(health))],
            streaming: [(ServingHealth.watchPath, HealthWatchMethod(health))]
                + ReflectionMethod.paths.map { ($0, reflection) },
            health: health)
    }

    deinit { paths.end() }

    /// The service of a path `/service/method`.
    static func service(of path: String) -> String {
        path.split(separator: "/").first.map(String.init) ?? ""
    }
}
