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
    /// The services' names, sorted.
    let services: [String]

    init(
        unary: [(path: String, method: any UnaryMethod)],
        streaming: [(path: String, method: any StreamingMethod)] = []
    ) {
        let texts = unary.map(\.path) + streaming.map(\.path)
        self.unary = unary.map(\.method)
        self.streaming = streaming.map(\.method)
        paths = MethodPaths(texts)
        services = Set(texts.map(Self.service)).sorted()
    }

    deinit { paths.end() }

    /// The service of a path `/service/method`.
    static func service(of path: String) -> String {
        path.split(separator: "/").first.map(String.init) ?? ""
    }
}
