import Foundation
import NIOHTTP1
import TestSupport
import Testing

@testable import HTTPServer

/// What a path answers to: its methods, and those of them that the admin socket alone takes.
private struct Methods: Equatable, CustomStringConvertible {
    var all: Set<String> = []
    var admin: Set<String> = []

    var description: String {
        all.sorted().joined(separator: ", ")
            + (admin.isEmpty ? "" : "; admin: \(admin.sorted().joined(separator: ", "))")
    }
}

@Suite("The routes of the pages")
struct RouteTests {
    /// What each path of the table takes.
    private static let routes: [String: Methods] = {
        var routes: [String: Methods] = [:]
        for path in RouteTable.served.paths {
            for route in path.routes {
                let methods: Set<String> =
                    switch route.methods {
                    case .any: ["any"]
                    case .listed(let methods): Set(methods.map(\.rawValue))
                    }
                routes["\(path.pattern)", default: Methods()].all.formUnion(methods)
                if route.audience == .admin { routes["\(path.pattern)"]?.admin.formUnion(methods) }
            }
        }
        return routes
    }()

    @Test("Protocol has every path and method that the daemon takes, and who may ask")
    func table() throws {
        let table = try #require(try Page.named("Protocol").table(with: "methods"))
        var told: [String: Methods] = [:]
        for row in table.rows {
            let paths = matches(of: "`(/[^`]*)`", in: row[0]).map { String($0.prefix { $0 != "?" }) }
            let methods = Set(row[1].hasPrefix("any") ? ["any"] : matches(of: "\\b([A-Z]{3,})\\b", in: row[1]))
            for path in paths {
                told[path, default: Methods()].all.formUnion(methods)
                if row[1].contains("admin socket alone") { told[path]?.admin.formUnion(methods) }
            }
        }
        // POST, which the page tells apart, is one of any.
        for path in told.keys where told[path]?.all.contains("any") == true { told[path]?.all = ["any"] }
        #expect(Self.routes.count > 15)
        for (path, methods) in Self.routes where told[path] != methods {
            Issue.record("\(path) takes \(methods); Protocol has \(told[path].map { "\($0)" } ?? "no row")")
        }
        for path in told.keys where Self.routes[path] == nil {
            Issue.record("Protocol has \(path), which is not served")
        }
    }

    @Test("Protocol has a command with curl for every route and method, on a socket that answers it")
    func commands() throws {
        let page = try #require(try Page.named("Protocol").marked("routes"))
        var shown: Set<String> = []
        for line in page.text.components(separatedBy: "\n") where line.hasPrefix("$ curl ") {
            let path = try #require(matches(of: "http://localhost(/[^ '?]*)", in: line).first)
            let served = try #require(RouteTable.served.path(RoutePattern.split(path[...])), "\(line)")
            let method = matches(of: "-X ([A-Z]+)", in: line).first ?? (line.contains(" -d ") ? "POST" : "GET")
            let routes = served.routes.filter { $0.methods.contains(HTTPMethod(rawValue: method)) }
            let route = try #require(routes.first, "\(line)")
            #expect((route.audience == .admin) == line.contains("$ADMIN_SOCKET"), "\(line)")
            shown.insert("\(route.summary) \(served.pattern)")
        }
        for path in RouteTable.served.paths {
            for route in path.routes where !shown.contains("\(route.summary) \(path.pattern)") {
                Issue.record("no command for \(route.methods) \(path.pattern)")
            }
        }
    }

    @Test("What is said of an unknown path names every path that is served")
    func unknownPath() {
        let named = matches(of: "(/[a-z0-9/<>*]+(?:[.]json)?)", in: RequestError.unknownPath.detail)
        #expect(Set(named.map { String($0) }) == Set(Self.routes.keys) && named.count == Self.routes.count)
    }

    @Test("Every route that a page names is served, and takes the method named with it", arguments: Page.all)
    func named(page: Page) {
        let requests = matches(
            of:
                "((?:(?:GET|HEAD|POST|PUT|DELETE|PATCH) )?(?<![\\w.:*])/(?:v1/|livez|readyz|healthz|metrics)[^`'\" ,;|)]*)",
            in: page.text)
        for request in requests {
            let parts = request.split(separator: " ").map(String.init)
            var path = String((parts.last ?? "").prefix { $0 != "?" && $0 != "\n" })
            guard !path.contains("…") else { continue }
            if path.hasSuffix(".") { path.removeLast() }
            guard path != "/nothing", path != "/v1/" else { continue }
            // Whoever is named stands in the place of a name in angle brackets, which is a text as well.
            let served = RouteTable.served.path(RoutePattern.split(path[...]))
            let methods = served.flatMap { Self.routes["\($0.pattern)"]?.all }
            #expect(methods != nil, "\(request)")
            guard parts.count == 2, let methods else { continue }
            #expect(methods.contains(parts[0]) || methods.contains("any"), "\(request)")
        }
    }
}
