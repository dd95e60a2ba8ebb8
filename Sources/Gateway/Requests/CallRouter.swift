import NIOHTTP1
import RateLimitCore
import RateLimitService

/// Reads the routes about calls, as a function: `/v1/reserve`, `/v1/renew`, `/v1/settle`, `/v1/release`, `/v1/usage` and
/// `/v1/users/<uuid>/usage`, and under the limits of the file `/v1/check`.
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
        guard let user = UserID(parts[3]) else { throw .invalidUser }
        var body = CallBody()
        body.user = user
        body.groups = try CallQuery.read(query).body.groups
        return Call(request: try body.request(.look), isVerbose: true)
    }

    private static func check(_ request: Router.Request, _ query: [UInt8]) throws(RequestError) -> Call {
        var values = try CallQuery.read(query)
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
        return Call(request: try body.request(try operation(body)), isVerbose: try CallQuery.read(query).isVerbose)
    }

    private static func body(_ request: Router.Request) throws(RequestError) -> CallBody {
        guard request.hasLength else { throw .lengthRequired }
        guard !request.body.isEmpty else { throw .missingUser }
        try Router.requireJSON(request)
        return try Router.withBytes(request.body) { (bytes) throws(RequestError) in try CallBody.read(bytes) }
    }
}

extension CallBody {
    fileprivate var givenLease: Lease {
        get throws(RequestError) {
            guard let lease else { throw .invalidCall("lease is missing") }
            return lease
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

/// Reads the query of a call: `user`, `cost`, `model`, `provider`, `group` (any number) and `verbose`. Others are labels
/// where they begin with `label.`, and ignored where not.
struct CallQuery {
    var body = CallBody()
    var isVerbose = false

    static func read(_ query: [UInt8]) throws(RequestError) -> CallQuery {
        var values = CallQuery()
        for pair in query.split(separator: UInt8(ascii: "&")) {
            let parts = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(decoding: parts[0], as: UTF8.self)
            let raw = parts.count > 1 ? parts[1] : []
            let bytes = try Router.withBytes(Array(raw)) { (bytes) throws(RequestError) in
                try CheckQuery.decoded(bytes) { Array($0) } ?? []
            }
            guard let value = String(validating: bytes, as: UTF8.self) else {
                throw .malformedQuery("\(name) is no UTF-8")
            }
            try values.set(name, value)
        }
        return values
    }

    private mutating func set(_ name: String, _ value: String) throws(RequestError) {
        switch name {
        case "user":
            guard let user = UserID(value) else { throw .invalidUser }
            body.user = user
        case "cost":
            guard let cost = Array(value.utf8).withUnsafeBytes({ decimalCost($0) }) else { throw .invalidCost }
            body.cost = cost
        case "model": body.model = value
        case "provider": body.provider = value
        case "group":
            guard let group = UserID(value) else { throw .invalidGroup }
            body.groups.append(group)
        case "verbose": isVerbose = value == "1" || value == "true"
        default:
            if name.hasPrefix("label.") { body.labels.append(CallAttributes.Label(String(name.dropFirst(6)), value)) }
        }
    }
}
