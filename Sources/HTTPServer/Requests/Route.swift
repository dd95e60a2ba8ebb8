import NIOHTTP1

/// One route: what its path looks like, its methods, who may ask, what it takes and answers, and how a request of it is
/// read.
struct Route: Sendable {
    /// The methods that a route takes.
    enum Methods: Sendable {
        case any
        case listed([HTTPMethod])

        /// GET, and HEAD, which is answered as GET is, without the body.
        static let read = listed([.GET, .HEAD])
        static let post = listed([.POST])
        static let put = listed([.PUT])
        static let delete = listed([.DELETE])

        func contains(_ method: HTTPMethod) -> Bool {
            switch self {
            case .any: true
            case .listed(let methods): methods.contains(method)
            }
        }
    }

    /// Reads what a request asks for, or says what is wrong with it: a method of ``RouteMatch``.
    typealias Handler = @Sendable (RouteMatch) -> () throws(RequestError) -> RoutedRequest

    let methods: Methods
    let pattern: RoutePattern
    let audience: RateLimitServer.Audience
    /// What the route does, in one sentence.
    let summary: String
    /// What it takes and answers, for the description.
    let contract: RouteContract
    let handler: Handler

    init(
        _ methods: Methods, _ pattern: RoutePattern, for audience: RateLimitServer.Audience = .everyone,
        _ summary: String, _ contract: RouteContract, _ handler: @escaping Handler
    ) {
        self.methods = methods
        self.pattern = pattern
        self.audience = audience
        self.summary = summary
        self.contract = contract
        self.handler = handler
    }
}
