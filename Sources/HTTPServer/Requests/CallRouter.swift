import NIOHTTP1
import RateLimitCore
import RateLimitService

/// Reads the routes about calls, as a function: `/v1/reserve`, `/v1/renew`, `/v1/settle`, `/v1/release`, `/v1/usage` and
/// `/v1/users/<user>/usage`, and under the limits of the file `/v1/check`.
enum CallRouter {
    /// A call, and whether its answer is to list every limit.
    struct Call: Hashable {
        var request: CallRequest
        var isVerbose = false
    }

    /// What is asked for; nil where the path is none of these routes'.
    static func route(
        _ request: Router.Request, _ path: Substring, _ query: [UInt8]
    ) throws(RequestError) -> Call? {
        guard let route = CallRoute(path: path) else { return try look(request, path, query) }
        if route == .check { return request.checksAreCalls ? try check(request, query) : nil }
        guard request.method == .POST else { throw .methodNotAllowed(allowed: "POST") }
        let call = try route.request(try body(request), request.leases)
        return Call(request: call, isVerbose: CallQuery.isVerbose(query))
    }

    /// Its query may name groups, whose windows are told where the groups that count are those a call names, and values, of
    /// whose windows it is told.
    private static func look(
        _ request: Router.Request, _ path: Substring, _ query: [UInt8]
    ) throws(RequestError) -> Call? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[1] == "v1", parts[2] == "users", parts[4] == "usage" else { return nil }
        guard request.method == .GET || request.method == .HEAD else { throw .methodNotAllowed(allowed: "GET, HEAD") }
        let user = try PathSegment.user(parts[3])
        var body = CallBody()
        body.user = user
        body.add(try CallQuery.groups(query))
        for parameter in QueryParameters(query) { try CallQuery.add(parameter, to: &body, under: request.limits) }
        return Call(request: try body.request(.look), isVerbose: true)
    }

    private static func check(_ request: Router.Request, _ query: [UInt8]) throws(RequestError) -> Call {
        var values = try CallQuery.read(query, under: request.limits)
        if values.body.user == nil {
            guard request.method == .POST else { throw .missingUser }
            values.body = try body(request)
        }
        let call = try CallRoute.check.request(values.body, request.leases)
        return Call(request: call, isVerbose: values.isVerbose)
    }

    private static func body(_ request: Router.Request) throws(RequestError) -> CallBody {
        guard request.hasLength else { throw .lengthRequired }
        guard !request.body.isEmpty else { throw .missingUser }
        try Router.requireJSON(request)
        return try Router.withBytes(request.body) { (bytes) throws(RequestError) in
            try CallBody.read(bytes, under: request.limits)
        }
    }
}

/// The routes whose POST has what a gateway says of a call in its body (``CallBody``): one for each operation.
enum CallRoute: CaseIterable, Hashable {
    case check
    case reserve
    case settle
    case usage
    case renew
    case release

    /// Made once.
    static let all = allCases

    /// The one of a name in UTF-8; nil for any other.
    init?(_ name: UnsafeRawBufferPointer) {
        for route in Self.all where name.equals(route.name) {
            self = route
            return
        }
        return nil
    }

    /// The one of a whole path; nil for any other.
    init?(path: Substring) {
        guard path.hasPrefix("/v1/") else { return nil }
        var name = String(path.dropFirst(4))
        guard let route = name.withUTF8({ Self(UnsafeRawBufferPointer($0)) }) else { return nil }
        self = route
    }

    /// Its path behind `/v1/`.
    var name: StaticString {
        switch self {
        case .check: "check"
        case .reserve: "reserve"
        case .settle: "settle"
        case .usage: "usage"
        case .renew: "renew"
        case .release: "release"
        }
    }

    /// What a body asks for here.
    func request(_ body: CallBody, _ leases: LeaseTimes) throws(RequestError) -> CallRequest {
        switch self {
        case .check: try body.request(.check)
        case .reserve: try body.request(.reserve(milliseconds: try body.timeToLive(leases)))
        case .renew: try body.request(.renew(try body.givenLease, milliseconds: try body.timeToLive(leases)))
        case .settle: try body.request(.settle(try body.givenLease))
        case .release: try body.request(.release(try body.givenLease))
        case .usage: try body.request(.usage(id: body.requestID ?? []))
        }
    }
}

extension CallBody {
    fileprivate var givenLease: Lease {
        get throws(RequestError) {
            if let lease { return lease }
            throw problems.first { $0.ignored.name == .lease }?.refusal ?? .invalidCall("lease is missing")
        }
    }

    /// How long a lease is to live, in milliseconds.
    fileprivate func timeToLive(_ leases: LeaseTimes) throws(RequestError) -> Int {
        guard let seconds = timeToLiveSeconds else { return leases.usualMilliseconds }
        guard seconds * 1000 <= leases.longestMilliseconds else {
            throw .invalidCall(
                "ttl is above the max_ttl of leases: accepted are 1 to \(leases.longestMilliseconds / 1000) seconds")
        }
        return seconds * 1000
    }
}

/// Reads the query of a call: `user`, `cost`, `model`, `provider`, `group` (any number), `verbose`, and labels as
/// `label.<name>`. Others are ignored, and so are labels that no limit looks at.
struct CallQuery {
    var body = CallBody()
    var isVerbose = false

    static func read(_ query: [UInt8], under limits: LimitsInForce) throws(RequestError) -> CallQuery {
        var values = CallQuery()
        for parameter in QueryParameters(query) {
            switch parameter.name {
            case "user":
                guard let user = SubjectID(try text(parameter)) else { throw .invalidUser }
                values.body.user = user
            case "cost":
                guard let cost = Array(try text(parameter).utf8).withUnsafeBytes({ decimalCost($0) }) else {
                    throw .invalidCost
                }
                values.body.cost = cost
            default: try add(parameter, to: &values.body, under: limits)
            }
        }
        if limits.groupsAreGiven { values.body.add(try groups(query)) }
        values.isVerbose = isVerbose(query)
        return values
    }

    /// Takes what a parameter says of the call: a model, a provider, or a label that some limit looks at.
    fileprivate static func add(
        _ parameter: QueryParameters.Parameter, to body: inout CallBody, under limits: LimitsInForce
    ) throws(RequestError) {
        switch parameter.name {
        case "model": body.model = try text(parameter)
        case "provider": body.provider = try text(parameter)
        case let name where name.hasPrefix("label."):
            let label = String(name.dropFirst(6))
            guard limits.rules.limits.labelNames.contains(label) else { return }
            body.labels[label] = try text(parameter)
        default: return
        }
    }

    /// Whether every limit is to be told of.
    static func isVerbose(_ query: [UInt8]) -> Bool {
        let parameter = Array(QueryParameters(query)).last { $0.name == "verbose" }
        return ["1", "true"].contains(parameter?.value)
    }

    /// The groups that are named.
    static func groups(_ query: [UInt8]) throws(RequestError) -> [SubjectID] {
        var groups: [SubjectID] = []
        for parameter in QueryParameters(query) where parameter.name == "group" {
            guard let group = SubjectID(try text(parameter)) else { throw .invalidGroup }
            groups.append(group)
        }
        return groups
    }

    private static func text(_ parameter: QueryParameters.Parameter) throws(RequestError) -> String {
        guard let value = parameter.value else {
            throw .malformedQuery("\(parameter.name) is no UTF-8 text, or \(CheckQuery.encoding)")
        }
        return value
    }
}
