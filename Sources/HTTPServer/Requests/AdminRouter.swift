import NIOHTTP1
import RateLimitCore
import RateLimitService

/// What is asked on the admin socket about budgets.
enum AdminRequest: Hashable {
    case userBudget(SubjectID)
    case groupBudget(SubjectID)
    case membership(SubjectID, group: SubjectID)
    /// A change, and which parts of a budget may have no effect, as an earlier answer told.
    case change(BudgetChange, exempt: Set<String> = [])
    case grant(BudgetSubject, GrantBody)
    /// So many entries of the audit, the newest or those older than a cursor.
    case audit(limit: Int, olderThan: AuditCursor?)
}

/// Reads the routes that the admin socket alone has, as a function.
enum AdminRouter {
    /// How many entries of the audit are given where the request does not say.
    static let auditEntries = 50

    private static let methods = "GET, HEAD, PUT, DELETE"

    /// What is asked for; nil where the path is none of these routes'.
    static func route(
        _ request: Router.Request, _ path: Substring, _ query: [UInt8]
    ) throws(RequestError) -> AdminRequest? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count > 2, parts[0] == "", parts[1] == "v1" else { return nil }
        switch (parts[2], parts.count) {
        case ("audit", 3):
            try requireAdmin(request)
            guard request.method == .GET || request.method == .HEAD else {
                throw .methodNotAllowed(allowed: "GET, HEAD")
            }
            return try audit(query)
        case ("users", 5) where parts[4] == "budget":
            try requireAdmin(request)
            let user = try PathSegment.user(parts[3])
            return try userBudget(request, user)
        case ("groups", 5) where parts[4] == "budget":
            try requireAdmin(request)
            let group = try PathSegment.group(parts[3])
            return try groupBudget(request, group)
        case ("users", 5) where parts[4] == "grants":
            try requireAdmin(request)
            let user = try PathSegment.user(parts[3])
            return try grants(request, .user(user), String(decoding: query, as: UTF8.self))
        case ("groups", 5) where parts[4] == "grants":
            try requireAdmin(request)
            let group = try PathSegment.group(parts[3])
            return try grants(request, .group(group), String(decoding: query, as: UTF8.self))
        case ("groups", 6) where parts[4] == "members":
            try requireAdmin(request)
            let group = try PathSegment.group(parts[3])
            let user = try PathSegment.user(parts[5])
            return try membership(request, user, group)
        default: return nil
        }
    }

    private static func requireAdmin(_ request: Router.Request) throws(RequestError) {
        guard request.isAdmin else { throw .adminOnly }
    }

    private static func userBudget(_ request: Router.Request, _ user: SubjectID) throws(RequestError) -> AdminRequest {
        switch request.method {
        case .GET, .HEAD: return .userBudget(user)
        case .PUT:
            let body = try body(request, takesGroup: true)
            return .change(.putUserBudget(user, body.terms, attributedTo: body.group), exempt: body.withoutEffect)
        case .DELETE: return .change(.deleteUserBudget(user))
        default: throw .methodNotAllowed(allowed: methods)
        }
    }

    private static func groupBudget(_ request: Router.Request, _ group: SubjectID) throws(RequestError) -> AdminRequest
    {
        switch request.method {
        case .GET, .HEAD: return .groupBudget(group)
        case .PUT:
            let body = try body(request, takesGroup: false)
            return .change(.putGroupBudget(group, body.terms), exempt: body.withoutEffect)
        case .DELETE: return .change(.deleteGroupBudget(group))
        default: throw .methodNotAllowed(allowed: methods)
        }
    }

    private static func membership(
        _ request: Router.Request, _ user: SubjectID, _ group: SubjectID
    ) throws(RequestError) -> AdminRequest {
        switch request.method {
        case .GET, .HEAD: return .membership(user, group: group)
        case .PUT: return .change(.putMember(user, group: group))
        case .DELETE: return .change(.deleteMember(user, group: group))
        default: throw .methodNotAllowed(allowed: methods)
        }
    }

    private static func grants(
        _ request: Router.Request, _ subject: BudgetSubject, _ query: String
    ) throws(RequestError) -> AdminRequest {
        switch request.method {
        case .POST:
            return .grant(subject, try body(request) { (bytes) throws(RequestError) in try GrantBody.read(bytes) })
        case .DELETE:
            guard !query.isEmpty else { return .change(.deleteGrants(subject, limit: nil)) }
            let parts = query.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0] == "limit", let name = LimitName(String(parts[1])) else {
                throw .malformedQuery("accepted here is limit=<name> alone")
            }
            return .change(.deleteGrants(subject, limit: name))
        default: throw .methodNotAllowed(allowed: "POST, DELETE")
        }
    }

    private static func body(_ request: Router.Request, takesGroup: Bool) throws(RequestError) -> BudgetBody {
        try body(request) { (bytes) throws(RequestError) in try BudgetBody.read(bytes, takesGroup: takesGroup) }
    }

    private static func body<Body>(
        _ request: Router.Request, _ read: (UnsafeRawBufferPointer) throws(RequestError) -> Body
    ) throws(RequestError) -> Body {
        guard request.hasLength else { throw .lengthRequired }
        try Router.requireJSON(request)
        return try Router.withBytes(request.body, read)
    }

    private static func audit(_ query: [UInt8]) throws(RequestError) -> AdminRequest {
        var limit = auditEntries
        var cursor: AuditCursor?
        for parameter in QueryParameters(query) {
            switch parameter.name {
            case "limit":
                guard let number = parameter.value.flatMap({ Int($0) }), AuditPage.sizes.contains(number) else {
                    throw .malformedQuery("limit is no whole number from 1 to \(AuditPage.sizes.upperBound)")
                }
                limit = number
            case "cursor":
                guard let place = parameter.value.flatMap({ AuditCursor($0) }) else {
                    throw .malformedQuery("cursor is not the next_cursor of an earlier answer")
                }
                cursor = place
            default: break
            }
        }
        return .audit(limit: limit, olderThan: cursor)
    }
}
