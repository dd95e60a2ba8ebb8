import NIOHTTP1
import RateLimitCore
import RateLimitService
import Testing

@testable import HTTPServer

@Suite("The routes of grants")
struct GrantRouteTests {
    private let group = SubjectID(high: 1, low: 2)
    private var user: String { "/v1/users/\(someText)/grants" }
    private var ofGroup: String { "/v1/groups/\(group)/grants" }

    private func route(
        _ method: HTTPMethod, _ uri: String, isAdmin: Bool = true, body: String = ""
    ) -> Result<RoutedRequest, RequestError> {
        let request = Router.Request(
            method: method, uri: uri, contentType: nil, hasLength: true, isAdmin: isAdmin, body: Array(body.utf8))
        return result { () throws(RequestError) in try Router.route(request) }
    }

    private func name(_ text: String) throws -> LimitName { try #require(LimitName(text)) }

    @Test("take null for left out, also of a member that is not known")
    func nulls() throws {
        #expect(
            route(.POST, user, body: #"{"foo":null,"amount":5,"limit":"tokens","request_id":null}"#)
                == .success(.admin(.grant(.user(someUser), GrantBody(limit: try name("tokens"), amount: 5)))))
    }

    @Test("take a limit, an amount and perhaps an id, in any order")
    func bodies() throws {
        let tokens = try name("tokens")
        #expect(
            route(.POST, user, body: #"{"amount":5,"limit":"tokens"}"#)
                == .success(.admin(.grant(.user(someUser), GrantBody(limit: tokens, amount: 5)))))
        #expect(
            route(.POST, ofGroup, body: #"{"limit":"tokens","amount":1000000000000,"request_id":"\u0061 b"}"#)
                == .success(
                    .admin(
                        .grant(
                            .group(group),
                            GrantBody(limit: tokens, amount: 1_000_000_000_000, requestID: Array("a b".utf8))))))
        #expect(
            route(.POST, user, body: #"{"amount":5.0,"limit":"tokens","request_id":null}"#)
                == .success(.admin(.grant(.user(someUser), GrantBody(limit: tokens, amount: 5)))))
    }

    @Test(
        "refuse what is no grant",
        arguments: [
            "", "{}", "[]", #"{"limit":null,"amount":5}"#, #"{"limit":"tokens","amount":null}"#, #"{"limit":"tokens"}"#,
            #"{"amount":5}"#, #"{"limit":"A","amount":5}"#,
            #"{"limit":5,"amount":5}"#, #"{"limit":"tokens","amount":0}"#, #"{"limit":"tokens","amount":-5}"#,
            #"{"limit":"tokens","amount":1.5}"#, #"{"limit":"tokens","amount":1000000000001}"#,
            #"{"limit":"tokens","amount":"5"}"#, #"{"limit":"tokens","amount":5,"request_id":""}"#,
            #"{"limit":"tokens","amount":5,"request_id":"\#(String(repeating: "x", count: 129))"}"#,
            #"{"limit":"tokens","amount":5,"request_id":7}"#, #"{"limit":"tokens","amount":5,"until":"x"}"#,
        ])
    func refused(_ body: String) {
        guard case .failure(.invalidGrant(let reason)) = route(.POST, user, body: body) else {
            Issue.record("\(body) is taken")
            return
        }
        #expect(!reason.isEmpty)
    }

    @Test("take grants back, of one limit or of all")
    func deleted() throws {
        #expect(
            route(.DELETE, user) == .success(.admin(.change(.deleteGrants(.user(someUser), limit: nil)))))
        #expect(
            route(.DELETE, "\(ofGroup)?limit=a.b")
                == .success(.admin(.change(.deleteGrants(.group(group), limit: try name("a.b"))))))
        for query in ["limit", "limit=", "limit=A", "name=a", "limit=a&limit=b"] {
            guard case .failure(.malformedQuery) = route(.DELETE, "\(user)?\(query)") else {
                Issue.record("\(query) is taken")
                return
            }
        }
    }

    @Test("are on the admin socket alone, for subjects that are texts")
    func elsewhere() {
        for uri in [user, ofGroup] {
            for method in [HTTPMethod.POST, .DELETE, .GET] {
                #expect(route(method, uri, isAdmin: false) == .failure(.adminOnly))
            }
            #expect(route(.GET, uri) == .failure(.methodNotAllowed(allowed: "POST, DELETE")))
        }
        #expect(route(.DELETE, "/v1/users/%/grants") == .failure(.invalidUser))
        #expect(route(.DELETE, "/v1/groups//grants") == .failure(.invalidGroup))
    }
}
