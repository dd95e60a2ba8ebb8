import NIOHTTP1
import RateLimitCore
import RateLimitService

/// Reads the routes by which windows begin anew, as a function: DELETE of `/v1/users/<user>`, `/v1/groups/<group>/usage`
/// and `/v1/global/usage`, on the admin socket alone.
enum ResetRouter {
    /// What is asked for; nil where the path is that of no group's and of nobody's usage.
    static func route(
        _ request: Router.Request, _ path: Substring, _ query: [UInt8]
    ) throws(RequestError) -> LimitReset? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count > 2, parts[0] == "", parts[1] == "v1", parts.last == "usage" else { return nil }
        switch (parts[2], parts.count) {
        case ("groups", 5):
            guard request.isAdmin else { throw .adminOnly }
            let group = try PathSegment.group(parts[3])
            return try reset(request, .group(group), query)
        case ("global", 4):
            guard request.isAdmin else { throw .adminOnly }
            return try reset(request, .global, query)
        default: return nil
        }
    }

    private static func reset(
        _ request: Router.Request, _ owner: WindowOwner, _ query: [UInt8]
    ) throws(RequestError) -> LimitReset {
        guard request.method == .DELETE else { throw .methodNotAllowed(allowed: "DELETE") }
        return LimitReset(owner, limit: try limit(query))
    }

    /// The limit that a query names; nil where there is no query. Everything else is refused: a word misspelt must not
    /// reset more than was meant.
    static func limit(_ query: [UInt8]) throws(RequestError) -> LimitName? {
        guard !query.isEmpty else { return nil }
        let text = String(decoding: query, as: UTF8.self)
        guard text.hasPrefix("limit=") else { throw .malformedQuery("accepted here is limit=<name> alone") }
        guard let name = LimitName(String(text.dropFirst(6))) else {
            throw .malformedQuery(
                "limit is no name: accepted are 1 to 64 of a-z, 0-9, -, _ and ., beginning with a letter or digit")
        }
        return name
    }
}
