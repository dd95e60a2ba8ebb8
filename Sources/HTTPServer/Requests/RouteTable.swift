import NIOHTTP1

/// Every route that is served, and what is answered where there is none: 404, 405 with the methods that a path takes, and
/// 403 where a path or a method is for the admin socket alone.
struct RouteTable: Sendable {
    /// The routes of one pattern.
    struct Path: Sendable {
        let pattern: RoutePattern
        fileprivate(set) var routes: [Route]

        /// Whether none of its routes is for everyone.
        var isForAdminAlone: Bool { routes.allSatisfy { $0.audience == .admin } }

        /// The methods that it takes, as in the `Allow` field.
        fileprivate var allowed: String {
            let methods = routes.flatMap { route -> [HTTPMethod] in
                if case .listed(let methods) = route.methods { methods } else { [] }
            }
            return methods.map(\.rawValue).joined(separator: ", ")
        }
    }

    /// In the order in which they are first named.
    let paths: [Path]

    init(_ routes: [Route]) {
        var paths: [Path] = []
        for route in routes {
            if let index = paths.firstIndex(where: { $0.pattern == route.pattern }) {
                paths[index].routes.append(route)
            } else {
                paths.append(Path(pattern: route.pattern, routes: [route]))
            }
        }
        self.paths = paths
    }

    /// What is served at a path of these segments; nil where nothing is.
    func path(_ segments: [Substring]) -> Path? { paths.first { $0.pattern.matches(segments) } }

    /// The route of a request.
    ///
    /// - Parameter segments: of its path, as ``RoutePattern/split(_:)`` makes them.
    func route(_ method: HTTPMethod, _ segments: [Substring], isAdmin: Bool) throws(RequestError) -> Route {
        guard let path = path(segments) else { throw .unknownPath }
        // Who may ask nothing of a path is not told what could be asked.
        guard isAdmin || !path.isForAdminAlone else { throw .adminOnly }
        guard let route = path.routes.first(where: { $0.methods.contains(method) }) else {
            throw .methodNotAllowed(allowed: path.allowed)
        }
        guard isAdmin || route.audience == .everyone else { throw .adminOnly }
        return route
    }

    /// The patterns of the paths, for people: those on every socket, and those on the admin socket besides.
    var summary: String {
        func list(_ paths: [Path]) -> String {
            let names = paths.map(\.pattern.description)
            return names.dropLast().joined(separator: ", ") + " and " + (names.last ?? "")
        }
        return list(paths.filter { !$0.isForAdminAlone }) + "; on the admin socket also "
            + list(paths.filter(\.isForAdminAlone))
    }
}

extension RouteTable {
    /// What this server serves.
    static let served = RouteTable(calls + users + pages + budgets + shared)

    private typealias Read = RouteMatch

    /// Where gateways ask with the headers of a call alone.
    static let authorization: RoutePattern = "/v1/auth/*"

    private static let calls = [
        Route(.any, "/v1/check", "Decides whether a call may go on, and charges it if so.", .check, Read.check),
        Route(
            .any, authorization, "Decides whether the call of whoever its headers name may go on.", .authorize,
            Read.authorize),
        call(.reserve, "Reserves what a call may cost, until it is settled or its lease ends.", Read.reserve),
        call(.renew, "Prolongs a lease.", Read.renew),
        call(.settle, "Charges what a reserved call did cost, and gives back what is left.", Read.settle),
        call(.release, "Gives a reservation back, and charges nothing.", Read.release),
        call(.usage, "Charges what a call did cost for which nothing was reserved.", Read.usage),
    ]

    private static func call(_ route: CallRoute, _ summary: String, _ handler: @escaping Route.Handler) -> Route {
        Route(.post, "/v1/\(route.name)", summary, route.contract, handler)
    }

    private static let users = [
        Route(.read, "/v1/users/<user>", "Returns what a user has used.", .userStatus, Read.userStatus),
        Route(
            .delete, "/v1/users/<user>", for: .admin, "Begins the windows of a user anew, or those of one limit.",
            .reset,
            Read.userReset),
        Route(
            .read, "/v1/users/<user>/usage", "Returns how each limit in force stands for a user.", .userUsage,
            Read.userUsage),
    ]

    private static let pages = [
        page("/v1/config", "Returns every option, and how the last readings went.", .configuration, Read.configuration),
        page(
            "/v1/openapi.json", "Returns the description of all routes as an OpenAPI document.", .openAPI, Read.openAPI),
        page("/v1/version", "Returns the name and the version of the daemon.", .version, Read.version),
        page("/livez", "Is 200 while the process turns.", .alive, Read.alive),
        page("/readyz", "Is 200 while the daemon serves.", .ready, Read.ready),
        page("/healthz", "Returns how the daemon and its Redis are.", .health, Read.health),
        page("/metrics", "Returns the metrics in Prometheus's text format.", .metrics, Read.metrics),
    ]

    private static func page(
        _ pattern: RoutePattern, _ summary: String, _ contract: RouteContract, _ handler: @escaping Route.Handler
    ) -> Route {
        Route(.read, pattern, summary, contract, handler)
    }

    private static let budgets = [
        admin(.read, "/v1/users/<user>/budget", "Returns the budget of a user.", .userBudget, Read.userBudget),
        admin(
            .put, "/v1/users/<user>/budget", "Gives a user a budget, in place of another.", .userBudgetPut,
            Read.userBudgetPut),
        admin(.delete, "/v1/users/<user>/budget", "Takes a user's budget away.", .delete, Read.userBudgetDelete),
        admin(
            .post, "/v1/users/<user>/grants", "Adds to a user's quota until the window ends.", .grant, Read.userGrant),
        admin(
            .delete, "/v1/users/<user>/grants", "Takes the grants of a user back.", .grantsDelete,
            Read.userGrantsDelete),
        admin(.read, "/v1/groups/<group>/budget", "Returns the budget of a group.", .groupBudget, Read.groupBudget),
        admin(
            .put, "/v1/groups/<group>/budget", "Gives a group a budget, in place of another.", .groupBudgetPut,
            Read.groupBudgetPut),
        admin(.delete, "/v1/groups/<group>/budget", "Takes a group's budget away.", .delete, Read.groupBudgetDelete),
        admin(
            .post, "/v1/groups/<group>/grants", "Adds to a group's quota until the window ends.", .grant,
            Read.groupGrant),
        admin(
            .delete, "/v1/groups/<group>/grants", "Takes the grants of a group back.", .grantsDelete,
            Read.groupGrantsDelete),
        admin(
            .read, "/v1/groups/<group>/members/<user>", "Returns a user's membership in a group.", .member, Read.member),
        admin(.put, "/v1/groups/<group>/members/<user>", "Takes a user into a group.", .memberPut, Read.memberPut),
        admin(
            .delete, "/v1/groups/<group>/members/<user>", "Takes a user out of a group.", .delete, Read.memberDelete),
    ]

    private static let shared = [
        admin(
            .delete, "/v1/groups/<group>/usage", "Begins anew the windows that a group shares.", .reset, Read.groupReset
        ),
        admin(.delete, "/v1/global/usage", "Begins anew the windows that all users share.", .reset, Read.globalReset),
        admin(
            .delete, "/v1/descriptors", "Begins anew the window of a descriptor of Envoy's rate limit service.",
            .descriptorReset, Read.descriptorReset),
        admin(.read, "/v1/audit", "Lists the changes to budgets, the newest first.", .audit, Read.audit),
        admin(.read, "/v1/events", "Lists the thresholds that were crossed, the oldest first.", .events, Read.events),
    ]

    private static func admin(
        _ methods: Route.Methods, _ pattern: RoutePattern, _ summary: String, _ contract: RouteContract,
        _ handler: @escaping Route.Handler
    ) -> Route {
        Route(methods, pattern, for: .admin, summary, contract, handler)
    }
}
