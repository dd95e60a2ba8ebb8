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
        let leases = request.leases
        switch path {
        case "/v1/check": return request.checksAreCalls ? try check(request, query) : nil
        case "/v1/reserve":
            return try post(request, query) { (body) throws(RequestError) in
                .reserve(milliseconds: try body.timeToLive(leases))
            }
        case "/v1/renew":
            return try post(request, query) { (body) throws(RequestError) in
                .renew(try body.givenLease, milliseconds: try body.timeToLive(leases))
            }
        case "/v1/settle":
            return try post(request, query) { (body) throws(RequestError) in .settle(try body.givenLease) }
        case "/v1/release":
            return try post(request, query) { (body) throws(RequestError) in .release(try body.givenLease) }
        case "/v1/usage":
            return try post(request, query) { (body) throws(RequestError) in .usage(id: body.requestID ?? []) }
        default: return try look(request, path, query)
        }
    }

    /// Its query may name groups, whose windows are told where the groups that count are those a call names.
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
        return Call(request: try body.request(.look), isVerbose: true)
    }

    private static func check(_ request: Router.Request, _ query: [UInt8]) throws(RequestError) -> Call {
        var values = try CallQuery.read(query, under: request.limits)
        if values.body.user == nil {
            guard request.method == .POST else { throw .missingUser }
            values.body = try body(request)
        }
        return Call(request: try values.body.request(.check), isVerbose: values.isVerbose)
    }

    private static func post(
        _ request: Router.Request, _ query: [UInt8],
        _ operation: (CallBody) throws(RequestError) -> CallRequest.Operation
    ) throws(RequestError) -> Call {
        guard request.method == .POST else { throw .methodNotAllowed(allowed: "POST") }
        let body = try body(request)
        return Call(request: try body.request(try operation(body)), isVerbose: CallQuery.isVerbose(query))
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
            case "model": values.body.model = try text(parameter)
            case "provider": values.body.provider = try text(parameter)
            case let name where name.hasPrefix("label."):
                let label = String(name.dropFirst(6))
                guard limits.rules.limits.labelNames.contains(label) else { continue }
                values.body.labels[label] = try text(parameter)
            default: continue
            }
        }
        if limits.groupsAreGiven { values.body.add(try groups(query)) }
        values.isVerbose = isVerbose(query)
        return values
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
