import NIOHTTP1
import RateLimitCore
import RateLimitService
import Testing

@testable import HTTPServer

@Suite("The routes")
struct RouterTests {
    private static let json = Array("{\"user\":\"\(someText)\",\"cost\":3}".utf8)

    private func route(
        _ method: HTTPMethod, _ uri: String, admin: Bool = false, type: String? = nil, hasLength: Bool = true,
        body: [UInt8] = []
    ) -> Result<RoutedRequest, RequestError> {
        let request = Router.Request(
            method: method, uri: uri, contentType: type, hasLength: hasLength, isAdmin: admin, body: body
        )
        return result { () throws(RequestError) in try Router.route(request) }
    }

    private static let allPages: [(String, RoutedRequest)] = [
        ("/livez", .alive), ("/readyz", .ready(requiresRedis: false)),
        ("/readyz?require=redis", .ready(requiresRedis: true)),
        ("/readyz?", .ready(requiresRedis: false)), ("/healthz", .health), ("/metrics", .metrics),
        ("/v1/config", .configuration), ("/v1/version", .version), ("/v1/users/\(someText)", .userStatus(someUser)),
        ("/v1/users/\(someText.uppercased())", .userStatus(someUser)), ("/livez?x=y", .alive),
    ]

    @Test("answer GET and HEAD", arguments: allPages)
    func pages(_ uri: String, _ expected: RoutedRequest) {
        #expect(route(.GET, uri) == .success(expected))
        #expect(route(.HEAD, uri) == .success(expected))
    }

    @Test("name the methods they take where another is used", arguments: allPages)
    func methods(_ uri: String, _ expected: RoutedRequest) {
        let isUser = uri.hasPrefix("/v1/users/")
        let allowed = isUser ? "GET, HEAD, DELETE" : "GET, HEAD"
        for method in [HTTPMethod.POST, .PUT, .PATCH, .OPTIONS, .TRACE, .RAW(value: "BREW")] {
            #expect(route(method, uri) == .failure(.methodNotAllowed(allowed: allowed)))
        }
        if !isUser { #expect(route(.DELETE, uri) == .failure(.methodNotAllowed(allowed: allowed))) }
    }

    @Test("reset a descriptor on the admin socket alone, and nothing where the query is not understood")
    func resetDescriptor() {
        func asked(_ query: String) -> Result<RoutedRequest, RequestError> {
            route(.DELETE, "/v1/descriptors" + query, admin: true)
        }
        func reset(_ domain: String, _ entries: (String, String)...) -> Result<RoutedRequest, RequestError> {
            let entries = entries.map { DescriptorEntry($0.0, $0.1) }
            return .success(.admin(.resetDescriptor(DescriptorReset(entries, in: domain))))
        }
        #expect(asked("?domain=edge&key=tenant&value=acme") == reset("edge", ("tenant", "acme")))
        #expect(
            asked("?key=a%3Db&value=&domain=e%20f&key=c&value=%2Fv1%26") == reset("e f", ("a=b", ""), ("c", "/v1&")))
        let longest = String(repeating: "&key=k&value=v", count: 32)
        guard case .success = asked("?domain=d" + longest) else { return #expect(Bool(false), "32 are accepted") }
        for query in [
            "", "?", "?domain=d", "?key=k&value=v", "?domain=&key=k&value=v", "?domain=d&key=k", "?domain=d&value=v",
            "?domain=d&key=&value=v", "?domain=d&key=k&key=l&value=v", "?domain=d&key=k&value=v&value=w",
            "?domain=d&domain=e&key=k&value=v", "?domain=d&key=k&value=%ff", "?domain=d&key=k&value=v&x=y",
            "?domain=d&key=k&value=v" + longest,
        ] {
            guard case .failure(.malformedQuery) = asked(query) else {
                Issue.record("\(query) was understood")
                continue
            }
        }
        #expect(route(.DELETE, "/v1/descriptors?domain=d&key=k&value=v") == .failure(.adminOnly))
    }

    @Test("reset a user on the admin socket alone")
    func reset() {
        let uri = "/v1/users/\(someText)"
        #expect(route(.DELETE, uri, admin: true) == .success(.reset(LimitReset(.user(someUser)))))
        #expect(route(.DELETE, uri) == .failure(.adminOnly))
        #expect(route(.GET, uri, admin: true) == .success(.userStatus(someUser)))
        #expect(route(.DELETE, "/v1/users/%", admin: true) == .failure(.invalidUser))
    }

    @Test(
        "reset one limit or all, of a user, a group or all, and nothing where the query is not understood",
        arguments: [
            ("/v1/users/\(someText)", WindowOwner.user(someUser)),
            ("/v1/groups/\(someText)/usage", .group(someUser)), ("/v1/global/usage", .global),
        ])
    func resetLimit(_ uri: String, _ owner: WindowOwner) throws {
        let limit = try #require(LimitName("member-day"))
        #expect(route(.DELETE, uri, admin: true) == .success(.reset(LimitReset(owner))))
        #expect(route(.DELETE, uri + "?", admin: true) == .success(.reset(LimitReset(owner))))
        #expect(
            route(.DELETE, uri + "?limit=member-day", admin: true) == .success(.reset(LimitReset(owner, limit: limit))))
        #expect(route(.DELETE, uri + "?limit=member-day") == .failure(.adminOnly))
        for query in ["limit=", "limit=A", "limt=a", "limit", "limit=a&limit=b", "verbose=1", "limit=a%20b", "&"] {
            guard case .failure(.malformedQuery) = route(.DELETE, "\(uri)?\(query)", admin: true) else {
                Issue.record("taken: \(query)")
                continue
            }
        }
        guard owner != .user(someUser) else { return }
        #expect(route(.GET, uri, admin: true) == .failure(.methodNotAllowed(allowed: "DELETE")))
        #expect(route(.GET, uri) == .failure(.adminOnly))
        #expect(route(.DELETE, "/v1/groups/%zz/usage", admin: true) == .failure(.invalidGroup))
    }

    @Test(
        "are not where nothing is",
        arguments: [
            "", "/", "*", "/v1", "/v1/", "/v1/checks", "/v1/check/", "/V1/check", "//v1/check", "/v1/users", "/livez/",
            "/v1/users/\(someText)/", "/v1/users/\(someText)/x", "/metricsx", "livez", "a:443",
        ])
    func unknown(_ uri: String) {
        #expect(route(.GET, uri) == .failure(.unknownPath))
    }

    @Test(
        "take calls whatever limits there are; a check is a call where the file has limits", arguments: [false, true])
    func calls(_ checksAreCalls: Bool) {
        func route(_ method: HTTPMethod, _ uri: String, _ members: String = "") -> Result<RoutedRequest, RequestError> {
            let request = Router.Request(
                method: method, uri: uri, contentType: nil, hasLength: true, isAdmin: false,
                checksAreCalls: checksAreCalls, body: Array("{\"user\":\"\(someText)\"\(members)}".utf8))
            return result { () throws(RequestError) in try Router.route(request) }
        }
        func call(_ operation: CallRequest.Operation) -> Result<RoutedRequest, RequestError> {
            let isVerbose = operation == .look
            return .success(
                .call(.init(request: CallRequest(user: someUser, operation: operation), isVerbose: isVerbose)))
        }
        #expect(route(.POST, "/v1/reserve") == call(.reserve(milliseconds: 60_000)))
        #expect(route(.POST, "/v1/usage") == call(.usage(id: [])))
        #expect(route(.GET, "/v1/users/\(someText)/usage") == call(.look))
        for path in ["/v1/renew", "/v1/settle", "/v1/release"] {
            #expect(route(.POST, path) == .failure(.invalidCall("lease is missing")))
            #expect(route(.GET, path) == .failure(.methodNotAllowed(allowed: "POST")))
        }
        let check = RoutedRequest.check(CheckRequest(user: someUser, cost: 1))
        #expect(route(.POST, "/v1/check") == (checksAreCalls ? call(.check) : .success(check)))
    }

    @Test("take a check with an id as a call, in the header or in the body, and no other", arguments: [false, true])
    func checkIDs(_ checksAreCalls: Bool) {
        func route(
            _ keys: [String], _ members: String = "", uri: String = "/v1/check"
        ) -> Result<RoutedRequest, RequestError> {
            var request = Router.Request(
                method: .POST, uri: uri, contentType: nil, hasLength: true, isAdmin: false,
                checksAreCalls: checksAreCalls, body: Array("{\"user\":\"\(someText)\"\(members)}".utf8))
            request.headers = HTTPHeaders(keys.map { ("idempotency-KEY", $0) })
            return result { () throws(RequestError) in try Router.route(request) }
        }
        func check(_ id: String) -> Result<RoutedRequest, RequestError> {
            .success(.call(.init(request: CallRequest(user: someUser, operation: .checkOnce(id: Array(id.utf8))))))
        }
        let plain: RoutedRequest =
            checksAreCalls ? .call(.init(request: CallRequest(user: someUser))) : .check(.init(user: someUser, cost: 1))
        #expect(route(["a"]) == check("a") && route([" \"a\" "]) == check("\"a\""))
        #expect(route([], #","request_id":"a""#) == check("a"))
        #expect(route([], #","requ\u0065st_id":"a""#) == check("a"))
        #expect(route(["a"], #","request_id":"b""#) == check("a"))
        #expect(route(["a"], uri: "/v1/check?user=\(someText)") == check("a"))
        for members in ["", #","request_id":null"#, #","request_id":"a","request_id":null"#, #","x":"request_id""#] {
            #expect(route([], members) == .success(plain) && route([""], members) == .success(plain), "\(members)")
        }
        let long = String(repeating: "k", count: 257)
        #expect(route([long]) == .failure(.invalidID(.longID(.idempotencyKey))))
        #expect(route(["a", "a"]) == .failure(.invalidID(.repeated(.idempotencyKey))))
        guard case .failure(.invalidCall) = route([], #","request_id":7"#) else {
            Issue.record("a number is taken for an id")
            return
        }
    }

    @Test(
        "want 1 to 256 bytes of UTF-8 of a user",
        arguments: ["", "%", "%ff", "\(someText)%0", String(repeating: "x", count: 257)])
    func badUser(_ name: String) {
        #expect(route(.GET, "/v1/users/\(name)") == .failure(.invalidUser))
    }

    @Test("resolve what is percent-encoded of a user, and split the path before")
    func encodedUser() {
        #expect(route(.GET, "/v1/users/%30" + someText.dropFirst()) == .success(.userStatus(someUser)))
        #expect(route(.GET, "/v1/users/a%2Fusage") == .success(.userStatus(SubjectID("a/usage") ?? someUser)))
        #expect(route(.GET, "/v1/users/a/b") == .failure(.unknownPath))
    }

    @Test("pass over parameters at readyz that nobody reads, and refuse what they cannot require")
    func readyQuery() {
        for (query, requires) in [
            ("x", false), ("x=1&next=100%", false), ("require=redis&x", true), ("a=%&require=%72edis", true),
        ] {
            #expect(route(.GET, "/readyz?\(query)") == .success(.ready(requiresRedis: requires)))
        }
        for query in ["require=", "require=redi", "require", "require=redis&require=x", "require=%"] {
            guard case .failure(let error) = route(.GET, "/readyz?\(query)") else {
                Issue.record("taken")
                continue
            }
            #expect(error.status == .badRequest)
        }
    }

    @Test("take a check's query with any method, whatever the body")
    func query() {
        let check = RoutedRequest.check(CheckRequest(user: someUser, cost: 5))
        for method in [HTTPMethod.GET, .HEAD, .POST, .PUT, .DELETE, .OPTIONS, .RAW(value: "BREW")] {
            #expect(
                route(method, "/v1/check?user=\(someText)&cost=5", type: "text/plain", body: [0]) == .success(check))
        }
    }

    @Test("take a check's body with POST, and any JSON media type or none")
    func body() {
        let check = RoutedRequest.check(CheckRequest(user: someUser, cost: 3))
        for type in [
            nil, "application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x",
        ] {
            #expect(route(.POST, "/v1/check", type: type, body: Self.json) == .success(check))
        }
        #expect(route(.POST, "/v1/check?cost=9", body: Self.json) == .success(check))
        for type in ["text/plain", "", "application/jsonp", "json", "application/x-www-form-urlencoded"] {
            #expect(route(.POST, "/v1/check", type: type, body: Self.json) == .failure(.unsupportedMediaType))
        }
    }

    @Test("say what a check lacks")
    func lacking() {
        #expect(route(.GET, "/v1/check") == .failure(.missingUser))
        #expect(route(.PUT, "/v1/check", body: Self.json) == .failure(.missingUser))
        #expect(route(.POST, "/v1/check", hasLength: false) == .failure(.lengthRequired))
        #expect(route(.POST, "/v1/check") == .failure(.missingUser))
        #expect(route(.POST, "/v1/check", body: Array("{}".utf8)) == .failure(.missingUser))
        #expect(route(.POST, "/v1/check?user=", body: Self.json) == .failure(.invalidUser))
        #expect(route(.GET, "/v1/check?user=\(someText)&cost=0") == .failure(.invalidCost))
    }

    @Test("take a target in absolute form")
    func absolute() {
        for start in ["http://localhost", "https://a:8089", "HTTP://a"] {
            #expect(route(.GET, "\(start)/livez") == .success(.alive))
            #expect(route(.GET, "\(start)/v1/users/\(someText)") == .success(.userStatus(someUser)))
            let check = RoutedRequest.check(CheckRequest(user: someUser, cost: 1))
            #expect(route(.GET, "\(start)/v1/check?user=\(someText)") == .success(check))
            #expect(route(.GET, start) == .failure(.unknownPath))
        }
        #expect(route(.GET, "ftp://a/livez") == .failure(.unknownPath))
    }

    @Test(
        "give each kind of bad request its status",
        arguments: [
            (RequestError.malformedHTTP("x"), 400), (.malformedQuery("x"), 400), (.missingHost, 400),
            (.malformedJSON("x"), 400),
            (.missingUser, 400),
            (.invalidUser, 400), (.invalidCost, 400), (.adminOnly, 403), (.unknownPath, 404),
            (.methodNotAllowed(allowed: "GET"), 405), (.timedOut, 408), (.lengthRequired, 411), (.bodyTooLarge, 413),
            (.unsupportedMediaType, 415), (.headTooLarge, 431),
        ])
    func statuses(_ error: RequestError, _ status: Int) {
        #expect(error.status.rawValue == status)
        #expect(error.detail.hasSuffix("."))
    }
}
