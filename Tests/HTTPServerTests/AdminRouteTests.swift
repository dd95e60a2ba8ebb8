import NIOHTTP1
import RateLimitCore
import RateLimitService
import Testing

@testable import HTTPServer

@Suite("The routes of the admin socket")
struct AdminRouteTests {
    private let group = SubjectID(high: 1, low: 2)
    private var user: String { "/v1/users/\(someText)/budget" }
    private var ofGroup: String { "/v1/groups/\(group)/budget" }
    private var member: String { "/v1/groups/\(group)/members/\(someText)" }

    private func route(
        _ method: HTTPMethod, _ uri: String, isAdmin: Bool = true, type: String? = nil, hasLength: Bool = true,
        body: String = "{}"
    ) -> Result<RoutedRequest, RequestError> {
        let request = Router.Request(
            method: method, uri: uri, contentType: type, hasLength: hasLength, isAdmin: isAdmin, body: Array(body.utf8)
        )
        return result { () throws(RequestError) in try Router.route(request) }
    }

    private func put(_ body: String, _ uri: String? = nil) -> Result<RoutedRequest, RequestError> {
        route(.PUT, uri ?? user, body: body)
    }

    private func stored(_ terms: BudgetTerms, _ group: SubjectID? = nil) -> Result<RoutedRequest, RequestError> {
        .success(.admin(.change(.putUserBudget(someUser, terms, attributedTo: group))))
    }

    @Test("read what is kept, change it and take it away")
    func methods() {
        for method in [HTTPMethod.GET, .HEAD] {
            #expect(route(method, user) == .success(.admin(.userBudget(someUser))))
            #expect(route(method, ofGroup) == .success(.admin(.groupBudget(group))))
            #expect(route(method, member) == .success(.admin(.membership(someUser, group: group))))
        }
        #expect(put("{}") == stored(BudgetTerms()))
        #expect(put("{}", ofGroup) == .success(.admin(.change(.putGroupBudget(group, BudgetTerms())))))
        #expect(put("", member) == .success(.admin(.change(.putMember(someUser, group: group)))))
        #expect(route(.DELETE, user) == .success(.admin(.change(.deleteUserBudget(someUser)))))
        #expect(route(.DELETE, ofGroup) == .success(.admin(.change(.deleteGroupBudget(group)))))
        #expect(route(.DELETE, member) == .success(.admin(.change(.deleteMember(someUser, group: group)))))
        for uri in [user, ofGroup, member] {
            #expect(route(.POST, uri) == .failure(.methodNotAllowed(allowed: "GET, HEAD, PUT, DELETE")))
        }
        #expect(route(.PUT, "/v1/audit") == .failure(.methodNotAllowed(allowed: "GET, HEAD")))
    }

    @Test("take null for left out, known or not, and what an answer named without_effect")
    func nulls() {
        let nulls = #"{"group_id":null,"spend_limit_micros":null,"limits":null,"without_effect":null,"foo":null}"#
        #expect(put(nulls) == stored(BudgetTerms()))
        #expect(put(nulls, ofGroup) == .success(.admin(.change(.putGroupBudget(group, BudgetTerms())))))
        let change = BudgetChange.putGroupBudget(group, BudgetTerms(limits: ["a": 1]))
        let sent = #"{"without_effect":["a","spend_limit_micros"],"limits":{"a":1}}"#
        #expect(put(sent, ofGroup) == .success(.admin(.change(change, exempt: ["a", "spend_limit_micros"]))))
        for body in [#"{"without_effect":"a"}"#, #"{"without_effect":[1]}"#, #"{"foo":1}"#] {
            guard case .failure(let error) = put(body) else { Issue.record("taken"); continue }
            #expect(error.status == .badRequest)
        }
    }

    @Test("are answered nowhere else, whatever is asked")
    func adminOnly() {
        for uri in [user, ofGroup, member, "/v1/audit", "/v1/events", "/v1/users/x/budget"] {
            for method in [HTTPMethod.GET, .HEAD, .PUT, .DELETE, .POST] {
                #expect(route(method, uri, isAdmin: false) == .failure(.adminOnly))
            }
        }
    }

    @Test("name users and groups by percent-encoded texts, and are not where nothing is")
    func paths() throws {
        #expect(route(.GET, "/v1/users/%/budget") == .failure(.invalidUser))
        #expect(route(.GET, "/v1/groups//budget") == .failure(.invalidGroup))
        #expect(route(.GET, "/v1/groups/%ff/members/\(someText)") == .failure(.invalidGroup))
        #expect(route(.GET, "/v1/groups/\(someText)/members/%4") == .failure(.invalidUser))
        for (segment, text) in [
            ("a%2Fb", "a/b"), ("alice@example.com", "alice@example.com"), ("a+b", "a+b"), ("%CE%B1", "α"),
            ("budget", "budget"),
            ("%2541", "%41"), ("%00", "\0"), (".", "."),
        ] {
            let id = try #require(SubjectID(text))
            #expect(route(.GET, "/v1/users/\(segment)/budget") == .success(.admin(.userBudget(id))))
            #expect(route(.GET, "/v1/groups/\(segment)/budget") == .success(.admin(.groupBudget(id))))
            #expect(
                route(.GET, "/v1/groups/\(segment)/members/\(segment)") == .success(.admin(.membership(id, group: id))))
        }
        for uri in [
            "/v1/groups", "/v1/groups/\(someText)", "/v1/groups/\(someText)/members", "\(user)/", "\(user)s",
            "/v1/audit/", "/v1/users/\(someText)/budget/x", "\(member)/x", "/v2/audit",
        ] {
            #expect(route(.GET, uri) == .failure(.unknownPath), "\(uri)")
        }
    }

    @Test("take a budget's members in any order, escaped or null, and what an answer has besides")
    func bodies() {
        let terms = BudgetTerms(spendLimitMicros: 50_000_000, limits: ["tokens": 0, "a-b.c_9": 1_000_000_000_000])
        let limits = #""limits":{"a-b.c_9":1000000000000,"tokens":0}"#
        #expect(put(#"{"spend_limit_micros":50000000,\#(limits)}"#) == stored(terms))
        #expect(put(#" { \#(limits) , "spend_limit_micros" : 50000000 } "#) == stored(terms))
        #expect(put(#"{"group_id":"\#(group)"}"#) == stored(BudgetTerms(), group))
        #expect(put(#"{"group_id":null,"spend_limit_micros":null,"limits":{}}"#) == stored(BudgetTerms()))
        #expect(put(#"{"limits":null}"#) == stored(BudgetTerms()))
        #expect(put(#"{"limits":{"x":null,"\u0061":1200.0}}"#) == stored(BudgetTerms(limits: ["a": 1_200])))
        #expect(put("\u{feff}{\"spend_limit_micros\":1.2e3}") == stored(BudgetTerms(spendLimitMicros: 1_200)))
        #expect(
            put(#"{"created_at":"x","updated_at":[1],"grants":[2],"spend_limit_micros":0}"#)
                == stored(.init(spendLimitMicros: 0)))
        #expect(put(#"{"spend\u005flimit_micros":1}"#) == stored(BudgetTerms(spendLimitMicros: 1)))
        #expect(put(#"{"spend_limit_micros":1,"spend_limit_micros":2}"#) == stored(BudgetTerms(spendLimitMicros: 2)))
    }

    @Test(
        "refuse amounts that are no whole numbers in bounds",
        arguments: [
            "-1", "1.5", "1e-3", "1e13", "0.5", "1000000000001", "99999999999999999999", "\"1\"", "[1]", "true",
        ])
    func amounts(_ amount: String) {
        let reason = "is no whole number from 0 to 1000000000000"
        #expect(put("{\"spend_limit_micros\":\(amount)}") == .failure(.invalidBudget("spend_limit_micros \(reason)")))
        #expect(put("{\"limits\":{\"x\":\(amount)}}") == .failure(.invalidBudget("x \(reason)")))
    }

    @Test(
        "refuse what is no budget",
        arguments: [
            "", "[]", "{", #"{"spend_limit_micros":01}"#, #"{"limits":[]}"#, #"{"limits":5}"#, #"{"spend_limit":1}"#,
            #"{"limits":{"":1}}"#, #"{"limits":{"a b":1}}"#, #"{"limits":{"A":1}}"#, #"{"limits":{"-a":1}}"#,
            #"{"limits":{"é":1}}"#, #"{"limits":{"x":1,}}"#, "{}x",
            #"{"limits":{"\u0041":1}}"#, #"{"limits":{"\#(String(repeating: "x", count: 65))":1}}"#,
            #"{"limits":{"x":"null"}}"#, #"{"limits":{"\ud800":1}}"#,
        ])
    func refused(_ body: String) {
        for uri in [user, ofGroup] {
            guard case .failure(.invalidBudget(let reason)) = put(body, uri) else {
                Issue.record("\(body) is taken")
                return
            }
            #expect(!reason.isEmpty)
        }
    }

    @Test("refuse groups that are none, and any for a group's budget; bound the limits; want JSON and a length")
    func otherRefusals() {
        #expect(put(#"{"group_id":""}"#) == .failure(.invalidGroup))
        #expect(put(#"{"group_id":5}"#) == .failure(.invalidGroup))
        guard case .failure(.invalidBudget) = put(#"{"group_id":"\#(group)"}"#, ofGroup) else {
            Issue.record("a group's budget is attributed")
            return
        }
        func body(limits count: Int) -> String {
            "{\"limits\":{\((0..<count).map { "\"x\($0)\":1" }.joined(separator: ","))}}"
        }
        guard case .success = put(body(limits: 64)) else {
            Issue.record("64 limits are refused")
            return
        }
        #expect(put(body(limits: 65)) == .failure(.invalidBudget("it names more than 64 limits")))
        #expect(route(.PUT, user, type: "text/plain") == .failure(.unsupportedMediaType))
        #expect(route(.PUT, user, type: "application/json") == stored(BudgetTerms()))
        #expect(route(.PUT, user, hasLength: false) == .failure(.lengthRequired))
    }

    @Test("give the audit in pages")
    func audit() {
        #expect(route(.GET, "/v1/audit") == .success(.admin(.audit(limit: 50, olderThan: nil))))
        let cursor = StreamCursor("17-3")
        #expect(
            route(.GET, "/v1/audit?limit=20&cursor=17-3") == .success(.admin(.audit(limit: 20, olderThan: cursor))))
        for query in ["page=1", "x=%&limit=5%30"] {
            #expect(route(.GET, "/v1/audit?\(query)") == .success(.admin(.audit(limit: 50, olderThan: nil))))
        }
        for query in ["limit=0", "limit=51", "limit=x", "limit", "cursor=x", "cursor=", "limit=%"] {
            guard case .failure(.malformedQuery) = route(.GET, "/v1/audit?\(query)") else {
                Issue.record("\(query) is taken")
                return
            }
        }
    }

    @Test("give the events in pages")
    func events() {
        #expect(route(.GET, "/v1/events") == .success(.admin(.events(limit: 100, after: nil))))
        let cursor = StreamCursor("17-3")
        #expect(
            route(.GET, "/v1/events?cursor=17-3&limit=1") == .success(.admin(.events(limit: 1, after: cursor))))
        #expect(route(.GET, "/v1/events?cursor=0-0&x=1") == .success(.admin(.events(limit: 100, after: .start))))
        for query in ["limit=0", "limit=101", "limit=x", "limit", "cursor=x", "cursor=", "cursor=1", "cursor=-1-1"] {
            guard case .failure(.malformedQuery) = route(.GET, "/v1/events?\(query)") else {
                Issue.record("\(query) is taken")
                return
            }
        }
        #expect(route(.POST, "/v1/events") == .failure(.methodNotAllowed(allowed: "GET, HEAD")))
    }
}

@Suite("A moment's text")
struct TimestampTests {
    @Test(
        "is RFC 3339 in UTC with milliseconds",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"), (4_102_444_799_050, "2099-12-31T23:59:59.050Z"),
        ])
    func text(_ milliseconds: Int, _ text: String) {
        #expect(rfc3339(milliseconds: milliseconds) == text)
    }
}
