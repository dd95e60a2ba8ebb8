import NIOHTTP1
import RateLimitService
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

/// A path with one word for whoever is named in it.
private func withIdentity(_ path: String) -> String {
    path.replacing(/<[a-z]+>|[0-9a-f]{8}-[0-9a-f-]{27}/, with: "<id>")
}

@Suite("The routes of the pages")
struct RouteTests {
    private static let identity = "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11"
    private static let methods: [HTTPMethod] = [.GET, .HEAD, .POST, .PUT, .DELETE, .PATCH, .OPTIONS, .TRACE]
    /// The word of a table for all of these.
    private static let any = Methods(all: Set(methods.map(\.rawValue)))

    private static func error(_ method: HTTPMethod, _ path: String, isAdmin: Bool) -> RequestError? {
        let request = Router.Request(
            method: method, uri: path.replacing("<id>", with: identity), contentType: nil, hasLength: true,
            isAdmin: isAdmin, leases: LeaseTimes(), body: [])
        do throws(RequestError) {
            _ = try Router.route(request)
            return nil
        } catch {
            return error
        }
    }

    /// What the router makes of a path; nil where it knows none such.
    private static func served(_ path: String) -> Methods? {
        var served = Methods()
        for method in methods {
            switch error(method, path, isAdmin: true) {
            case .unknownPath: return nil
            case .methodNotAllowed: continue
            default: served.all.insert(method.rawValue)
            }
            if error(method, path, isAdmin: false) == .adminOnly { served.admin.insert(method.rawValue) }
        }
        return served
    }

    /// Every path that the routers know, made of the words that stand in them.
    private static let routes: [String: Methods] = {
        let sources = Repository.texts.filter { $0.key.hasPrefix("Sources/HTTPServer/Requests/") }.values
        let literals = sources.flatMap { matches(of: "\"([a-z/<>0-9 ,]+)\"", in: $0) }
        let words = Set(literals.flatMap { $0.split(whereSeparator: { "/ ,<>".contains($0) }).map(String.init) })
        let ends = words.map { "/\($0)" }
        let middles = ends + ["/<id>"]
        var paths = ends + ends.map { "/v1\($0)" }
        for end in ends where served("/v1\(end)/<id>") != nil { paths.append("/v1\(end)/<id>") }
        for start in ends {
            for middle in middles {
                for end in ends { paths.append("/v1\(start)\(middle)\(end)") }
            }
            paths += ends.map { "/v1\(start)\($0)" } + ends.map { "/v1\(start)/<id>\($0)/<id>" }
        }
        let found = Dictionary(paths.compactMap { path in served(path).map { (path, $0) } }) { $1 }
        return found.filter { path, _ in !hasWordForIdentity(path, in: found) }
    }()

    /// Whether a word stands in an identity's place: the path is the one with the identity.
    private static func hasWordForIdentity(_ path: String, in found: [String: Methods]) -> Bool {
        let parts = path.split(separator: "/").map(String.init)
        return parts.indices.contains { index in
            var other = parts
            other[index] = "<id>"
            return parts[index] != "<id>" && found["/" + other.joined(separator: "/")] != nil
        }
    }

    @Test("Protocol has every path and method that the routers take, and who may ask")
    func table() throws {
        let table = try #require(try Page.named("Protocol").table(with: "methods"))
        var told: [String: Methods] = [:]
        for row in table.rows {
            let paths = matches(of: "`(/[^`]*)`", in: row[0]).map { withIdentity(String($0.prefix { $0 != "?" })) }
            let methods = row[1].hasPrefix("any") ? Self.any.all : Set(matches(of: "\\b([A-Z]{3,})\\b", in: row[1]))
            for path in paths {
                told[path, default: Methods()].all.formUnion(methods)
                if row[1].contains("admin socket alone") { told[path]?.admin.formUnion(methods) }
            }
        }
        #expect(Self.routes.count > 15)
        for (path, methods) in Self.routes where told[path] != methods {
            Issue.record("\(path) takes \(methods); Protocol has \(told[path].map { "\($0)" } ?? "no row")")
        }
        for path in told.keys where Self.routes[path] == nil {
            Issue.record("Protocol has \(path), which is not served")
        }
    }

    @Test("What is said of an unknown path names every path that is served")
    func unknownPath() {
        let text = RequestError.unknownPath.detail
        let named = matches(of: "(/[a-z0-9/<>]+)", in: text)
        #expect(Set(named.map { withIdentity($0) }) == Set(Self.routes.keys))
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
            // Whoever is named, it is one user or group.
            path = withIdentity(path)
            if path.hasSuffix(".") { path.removeLast() }
            guard path != "/nothing", path != "/v1/" else { continue }
            let methods = Self.routes[path]
            #expect(methods != nil, "\(request)")
            if parts.count == 2 { #expect(methods?.all.contains(parts[0]) == true, "\(request)") }
        }
    }
}
