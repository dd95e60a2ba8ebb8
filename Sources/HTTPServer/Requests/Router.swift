import NIOHTTP1
import RateLimitCore
import RateLimitService

/// What a request that came through NIOHTTP1 asks for.
enum Route: Equatable {
    case check(CheckRequest)
    case userStatus(SubjectID)
    case reset(LimitReset)
    case alive
    case ready(requiresRedis: Bool)
    case health
    case metrics
    case configuration
    case version
    /// About budgets.
    case admin(AdminRequest)
    /// About a call.
    case call(CallRouter.Call)
}

/// Reads a route from a request line and body, as a function: no channel.
enum Router {
    /// What is known of a request when its route is looked for.
    struct Request {
        var method: HTTPMethod
        /// Path and query, as they stand in the request line.
        var uri: String
        var contentType: String?
        /// Whether the request says how long its body is.
        var hasLength: Bool
        var isAdmin: Bool
        /// How long leases live.
        var leases = LeaseTimes()
        /// The limits of the file in force, which say what of a call is looked at.
        var limits = LimitsInForce.none
        /// Whether a check is a call under the limits of the file.
        var checksAreCalls = false
        var body: [UInt8]
    }

    /// The route of `request`, or what is wrong with it.
    static func route(_ request: Request) throws(RequestError) -> Route {
        let parts = target(request.uri).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0]
        let query = parts.count > 1 ? Array(parts[1].utf8) : []
        if let call = try CallRouter.route(request, path, query) { return .call(call) }
        switch path {
        case "/v1/check": return .check(try check(request, query))
        case "/livez": return try read(request, .alive)
        case "/readyz": return try read(request, .ready(requiresRedis: try requiresRedis(query)))
        case "/healthz": return try read(request, .health)
        case "/metrics": return try read(request, .metrics)
        case "/v1/config": return try read(request, .configuration)
        case "/v1/version": return try read(request, .version)
        default:
            if let admin = try AdminRouter.route(request, path, query) { return .admin(admin) }
            if let reset = try ResetRouter.route(request, path, query) { return .reset(reset) }
            return try user(request, path, query)
        }
    }

    /// Path and query; a server must take the absolute form of a target as well (RFC 9112, section 3.2.2).
    private static func target(_ uri: String) -> Substring {
        guard !uri.hasPrefix("/"),
            let scheme = ["http://", "https://"].first(where: { uri.lowercased().hasPrefix($0) })
        else { return uri[...] }
        let rest = uri.dropFirst(scheme.count)
        return rest.firstIndex(where: { $0 == "/" || $0 == "?" }).map { rest[$0...] } ?? "/"
    }

    private static func check(_ request: Request, _ query: [UInt8]) throws(RequestError) -> CheckRequest {
        let asked = try withBytes(query) { (bytes) throws(RequestError) in try CheckQuery.read(bytes) }
        if let asked { return asked }
        guard request.method == .POST else { throw .missingUser }
        guard request.hasLength else { throw .lengthRequired }
        guard !request.body.isEmpty else { throw .missingUser }
        try requireJSON(request)
        return try withBytes(request.body) { (bytes) throws(RequestError) in try JSONCheckBody.read(bytes) }
    }

    /// Refuses a body that says it is something else than JSON.
    static func requireJSON(_ request: Request) throws(RequestError) {
        guard let contentType = request.contentType else { return }
        let isJSON = Array(contentType.utf8).withUnsafeBytes { FastPath.isJSON($0) }
        guard isJSON else { throw .unsupportedMediaType }
    }

    private static func user(_ request: Request, _ path: Substring, _ query: [UInt8]) throws(RequestError) -> Route {
        let prefix = "/v1/users/"
        guard path.hasPrefix(prefix) else { throw .unknownPath }
        let name = path.dropFirst(prefix.count)
        guard !name.contains("/") else { throw .unknownPath }
        let user = try PathSegment.user(name)
        switch request.method {
        case .GET, .HEAD: return .userStatus(user)
        case .DELETE:
            guard request.isAdmin else { throw .adminOnly }
            return .reset(LimitReset(.user(user), limit: try ResetRouter.limit(query)))
        default: throw .methodNotAllowed(allowed: "GET, HEAD, DELETE")
        }
    }

    private static func read(_ request: Request, _ route: Route) throws(RequestError) -> Route {
        guard request.method == .GET || request.method == .HEAD else { throw .methodNotAllowed(allowed: "GET, HEAD") }
        return route
    }

    private static func requiresRedis(_ query: [UInt8]) throws(RequestError) -> Bool {
        var isRequired = false
        for parameter in QueryParameters(query) where parameter.name == "require" {
            guard parameter.value == "redis" else {
                throw .malformedQuery("require takes redis alone, as in require=redis")
            }
            isRequired = true
        }
        return isRequired
    }

    /// Has the bytes read in place.
    static func withBytes<Value>(
        _ bytes: [UInt8], _ read: (UnsafeRawBufferPointer) throws(RequestError) -> Value
    ) throws(RequestError) -> Value {
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(RequestError) in try read(bytes) } }
        return try result.get()
    }
}
