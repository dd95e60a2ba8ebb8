import NIOHTTP1
import RateLimitCore
import RateLimitService

/// What the routes about calls and users ask for.
extension RouteMatch {
    /// A check: by itself, or as a call where the file has limits and where it has an id.
    func check() throws(RequestError) -> RoutedRequest {
        let id = try idempotencyKey
        if request.checksAreCalls || id != nil { return .call(try checkedCall(id: id)) }
        let asked = try Router.withBytes(query) { (bytes) throws(RequestError) in try CheckQuery.read(bytes) }
        if let asked { return .check(asked) }
        guard request.method == .POST else { throw .missingUser }
        var layout = BodyLayout()
        let check = try bodyWithUser { (bytes) throws(RequestError) in
            try JSONCheckBody.read(bytes, layout: &layout)
        }
        return layout.isCall ? .call(try checkedCall(id: nil)) : .check(check)
    }

    /// The id in the header `Idempotency-Key`; nil where there is none.
    private var idempotencyKey: [UInt8]? {
        get throws(RequestError) {
            do throws(CallerProblem) {
                return try CallerRules.id(in: .idempotencyKey) { request.headers[$0.description] }
            } catch {
                throw .invalidID(error)
            }
        }
    }

    /// - Parameter id: the one that a header says, which counts before the one in the body.
    private func checkedCall(id: [UInt8]?) throws(RequestError) -> RoutedCall {
        var values = try CallQuery.read(query, under: request.limits)
        if values.body.user == nil {
            guard request.method == .POST else { throw .missingUser }
            values.body = try callBody()
        }
        if let id { values.body.requestID = id }
        let call = try CallRoute.check.request(values.body, request.leases)
        return RoutedCall(request: call, isVerbose: values.isVerbose)
    }

    func reserve() throws(RequestError) -> RoutedRequest { .call(try call(.reserve)) }

    func renew() throws(RequestError) -> RoutedRequest { .call(try call(.renew)) }

    func settle() throws(RequestError) -> RoutedRequest { .call(try call(.settle)) }

    func release() throws(RequestError) -> RoutedRequest { .call(try call(.release)) }

    func usage() throws(RequestError) -> RoutedRequest { .call(try call(.usage)) }

    /// A call whose body says all of it; in the query `verbose` alone is read, so that no usage is lost to it.
    private func call(_ route: CallRoute) throws(RequestError) -> RoutedCall {
        let call = try route.request(try callBody(), request.leases)
        return RoutedCall(request: call, isVerbose: CallQuery.isVerbose(query))
    }

    private func callBody() throws(RequestError) -> CallBody {
        try bodyWithUser { (bytes) throws(RequestError) in try CallBody.read(bytes, under: request.limits) }
    }

    func userStatus() throws(RequestError) -> RoutedRequest { .userStatus(try user) }

    /// Groups and values in the query have their windows told too: groups where those that count are those a call names.
    func userUsage() throws(RequestError) -> RoutedRequest {
        var body = CallBody()
        body.user = try user
        body.add(try CallQuery.groups(query))
        for parameter in QueryParameters(query) { try CallQuery.add(parameter, to: &body, under: request.limits) }
        return .call(RoutedCall(request: try body.request(.look), isVerbose: true))
    }
}

/// What the pages ask for.
extension RouteMatch {
    func alive() throws(RequestError) -> RoutedRequest { .alive }

    func health() throws(RequestError) -> RoutedRequest { .health }

    func metrics() throws(RequestError) -> RoutedRequest { .metrics }

    func configuration() throws(RequestError) -> RoutedRequest { .configuration }

    func openAPI() throws(RequestError) -> RoutedRequest { .openAPI }

    func version() throws(RequestError) -> RoutedRequest { .version }

    func ready() throws(RequestError) -> RoutedRequest { .ready(requiresRedis: try requiresRedis) }

    /// Whether the query makes the page depend on Redis.
    private var requiresRedis: Bool {
        get throws(RequestError) {
            var isRequired = false
            for parameter in QueryParameters(query) where parameter.name == "require" {
                guard parameter.value == "redis" else {
                    throw .malformedQuery("require takes redis alone, as in require=redis")
                }
                isRequired = true
            }
            return isRequired
        }
    }
}
