import NIOHTTP1
import RateLimitService
import Testing

@testable import HTTPServer

@Suite("The pattern of a route")
struct RoutePatternTests {
    private func matches(_ pattern: RoutePattern, _ path: String) -> Bool {
        pattern.matches(RoutePattern.split(path[...]))
    }

    @Test("matches paths of its own segments, with any text in the place of a name")
    func names() {
        let pattern: RoutePattern = "/v1/groups/<group>/members/<user>"
        for path in [
            "/v1/groups/a/members/b", "/v1/groups//members/", "/v1/groups/members/members/groups",
            "/v1/groups/%2F/members/a+b",
        ] {
            #expect(matches(pattern, path), "\(path)")
        }
        for path in [
            "", "/", "/v1/groups/a/members", "/v1/groups/a/members/b/", "/v1/groups/a/b/members/c",
            "v1/groups/a/members/b", "/v1/groups/a/Members/b", "//v1/groups/a/members/b",
        ] {
            #expect(!matches(pattern, path), "\(path)")
        }
        #expect(pattern.place(of: "group") == 3 && pattern.place(of: "user") == 5)
        #expect(pattern.place(of: "groups") == nil && pattern.place(of: "label") == nil)
    }

    @Test("with a star at its end matches every path at or below what is before")
    func below() {
        let pattern: RoutePattern = "/v1/auth/*"
        for path in ["/v1/auth", "/v1/auth/", "/v1/auth/v1/chat/completions", "/v1/auth//", "/v1/auth/*"] {
            #expect(matches(pattern, path), "\(path)")
        }
        for path in ["/v1/aut", "/v1/authx", "/v1/Auth/a", "/v2/auth/a", "/v1", "/"] {
            #expect(!matches(pattern, path), "\(path)")
        }
    }
}

@Suite("A table of routes")
struct RouteTableTests {
    private static func route(
        _ methods: Route.Methods, _ pattern: RoutePattern, for audience: RateLimitServer.Audience = .everyone
    ) -> Route {
        Route(methods, pattern, for: audience, "Is one of a test.", .alive, RouteMatch.alive)
    }

    private static let table = RouteTable([
        route(.read, "/a/<user>"), route(.delete, "/a/<user>", for: .admin), route(.post, "/b", for: .admin),
        route(.put, "/b", for: .admin), route(.any, "/c/*"),
    ])

    /// The pattern that a request comes to, or what is answered instead.
    private func found(_ method: HTTPMethod, _ path: String, isAdmin: Bool = false) -> Result<String, RequestError> {
        result { () throws(RequestError) in
            try Self.table.route(method, RoutePattern.split(path[...]), isAdmin: isAdmin).pattern.description
        }
    }

    @Test("finds the route of a path, a method and an audience")
    func found() {
        #expect(found(.GET, "/a/x") == .success("/a/<user>") && found(.HEAD, "/a/x") == .success("/a/<user>"))
        #expect(found(.DELETE, "/a/x", isAdmin: true) == .success("/a/<user>"))
        #expect(found(.PUT, "/b", isAdmin: true) == .success("/b"))
        for method in [HTTPMethod.GET, .POST, .OPTIONS, .RAW(value: "BREW")] {
            #expect(found(method, "/c/d/e") == .success("/c/*"))
        }
    }

    @Test("says 404 where no pattern matches, to everyone")
    func unknown() {
        for isAdmin in [false, true] {
            for path in ["/a", "/a/x/y", "/d", "b"] {
                #expect(found(.GET, path, isAdmin: isAdmin) == .failure(.unknownPath))
            }
        }
    }

    @Test("says 405 with the methods of all routes of the path")
    func methods() {
        #expect(found(.POST, "/a/x") == .failure(.methodNotAllowed(allowed: "GET, HEAD, DELETE")))
        #expect(found(.GET, "/b", isAdmin: true) == .failure(.methodNotAllowed(allowed: "POST, PUT")))
    }

    @Test("says 403 off the admin socket to its methods, and to every method of a path that is its alone")
    func audience() {
        #expect(found(.DELETE, "/a/x") == .failure(.adminOnly))
        for method in [HTTPMethod.GET, .POST, .PUT, .PATCH] { #expect(found(method, "/b") == .failure(.adminOnly)) }
    }
}

@Suite("The routes that are served")
struct ServedRoutesTests {
    private static let paths = RouteTable.served.paths

    /// Whether some path is one of both patterns'.
    private func overlap(_ one: RoutePattern, _ other: RoutePattern) -> Bool {
        let fits =
            one.segments.count == other.segments.count
            || (one.matchesBelow && one.segments.count < other.segments.count)
            || (other.matchesBelow && other.segments.count < one.segments.count)
        return fits
            && zip(one.segments, other.segments).allSatisfy { pair in
                if case (.literal(let one), .literal(let other)) = pair { one == other } else { true }
            }
    }

    @Test("have patterns of which no path fits two, so that their order does not matter")
    func patterns() {
        for (index, one) in Self.paths.enumerated() {
            for other in Self.paths[(index + 1)...] {
                #expect(!overlap(one.pattern, other.pattern), "\(one.pattern), \(other.pattern)")
            }
        }
        #expect(overlap("/v1/<user>", "/v1/a") && overlap("/v1/*", "/v1/a/b") && !overlap("/v1/a", "/v1/a/b"))
    }

    @Test("take each method of a path once")
    func methods() {
        for path in Self.paths {
            let methods = path.routes.flatMap { route -> [HTTPMethod] in
                if case .listed(let methods) = route.methods { methods } else { [] }
            }
            #expect(Set(methods.map(\.rawValue)).count == methods.count, "\(path.pattern)")
            #expect(methods.isEmpty ? path.routes.count == 1 : true, "\(path.pattern)")
        }
    }

    @Test("say what they do in one sentence")
    func summaries() {
        for route in Self.paths.flatMap(\.routes) {
            #expect(route.summary.hasSuffix(".") && !route.summary.dropLast().contains("."), "\(route.summary)")
            #expect(route.summary.first?.isUppercase == true && route.summary.count <= 80, "\(route.summary)")
        }
    }

    @Test("have the names that their handlers read in their patterns, and answer to every method they list")
    func handlers() {
        for path in Self.paths {
            // Which descriptor stands in the query alone.
            let query = path.pattern == "/v1/descriptors" ? "?domain=d&key=k&value=v" : ""
            let uri = path.pattern.description.replacing(/<[a-z]+>/, with: "x") + query
            for route in path.routes {
                guard case .listed(let methods) = route.methods else { continue }
                for method in methods {
                    let request = Router.Request(
                        method: method, uri: uri, contentType: nil, hasLength: true, isAdmin: route.audience == .admin,
                        body: Array(#"{"user":"x"}"#.utf8))
                    let asked = result { () throws(RequestError) in try Router.route(request) }
                    switch asked {
                    // The body is none of a lease, a budget or a grant.
                    case .success, .failure(.invalidCall), .failure(.invalidBudget), .failure(.invalidGrant): break
                    case .failure(let error): Issue.record("\(method) \(uri): \(error)")
                    }
                }
            }
        }
    }

    @Test("have each route of the hot path, by POST")
    func hotPath() throws {
        for call in CallRoute.allCases {
            let path = try #require(RouteTable.served.path(RoutePattern.split("/v1/\(call.name)"[...])))
            #expect(path.routes.contains { $0.methods.contains(.POST) && $0.audience == .everyone })
        }
    }
}
