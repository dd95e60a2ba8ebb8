import NIOHTTP1
import RateLimitCore
import RateLimitService

/// What a request that came through NIOHTTP1 asks for, once its route was found and read.
enum RoutedRequest: Equatable {
    case check(CheckRequest)
    case userStatus(SubjectID)
    case reset(LimitReset)
    case alive
    case ready(requiresRedis: Bool)
    case health
    case metrics
    case configuration
    case version
    case openAPI
    /// About budgets.
    case admin(AdminRequest)
    /// About a call.
    case call(RoutedCall)
    /// Whether a call of whoever the headers name may go on.
    case authorize(AuthorizationRequest)
}

/// Finds the route of a request in ``RouteTable/served`` and reads what it asks for, as a function: no channel.
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
        /// All headers, for what they say of the caller.
        var headers = HTTPHeaders()
        var peer = ConnectionPeer.unixSocket
        /// Who calls where headers and the peer alone tell it.
        var callers = CallerRules()
        var body: [UInt8]
    }

    /// What `request` asks for, or what is wrong with it.
    static func route(_ request: Request) throws(RequestError) -> RoutedRequest {
        let parts = target(request.uri).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let segments = RoutePattern.split(parts[0])
        let route = try RouteTable.served.route(request.method, segments, isAdmin: request.isAdmin)
        let query = parts.count > 1 ? Array(parts[1].utf8) : []
        let match = RouteMatch(request: request, pattern: route.pattern, segments: segments, query: query)
        return try route.handler(match)()
    }

    /// Whether the body of a request is dropped unread, whatever it is: of a call that the gateway does not make itself.
    static func dropsBody(of uri: String) -> Bool {
        let path = target(uri).prefix { $0 != "?" }
        return RouteTable.served.path(RoutePattern.split(path))?.pattern == RouteTable.authorization
    }

    /// Path and query; a server must take the absolute form of a target as well (RFC 9112, section 3.2.2).
    private static func target(_ uri: String) -> Substring {
        guard !uri.hasPrefix("/"),
            let scheme = ["http://", "https://"].first(where: { uri.lowercased().hasPrefix($0) })
        else { return uri[...] }
        let rest = uri.dropFirst(scheme.count)
        return rest.firstIndex(where: { $0 == "/" || $0 == "?" }).map { rest[$0...] } ?? "/"
    }

    /// Has the bytes read in place.
    static func withBytes<Value>(
        _ bytes: [UInt8], _ read: (UnsafeRawBufferPointer) throws(RequestError) -> Value
    ) throws(RequestError) -> Value {
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(RequestError) in try read(bytes) } }
        return try result.get()
    }
}
