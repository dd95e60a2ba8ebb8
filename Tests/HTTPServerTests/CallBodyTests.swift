import NIOHTTP1
import RateLimitCore
import RateLimitService
import Testing

@testable import HTTPServer

/// Limits that look at the labels `team` and `route`, under which the groups that count are those a call names.
let lookingLimits: LimitsInForce = {
    let matches = ["team", "route"].map { LabelMatch(.label($0), anyOf: [.exact("x")]) }
    let limit = LimitDefinition(
        name: .requests, scope: .user, unit: .requests, quota: 1, window: .sliding(milliseconds: 1_000),
        matches: matches)
    guard let set = try? LimitSet([limit]) else { preconditionFailure("one limit makes a set") }
    return LimitsInForce(rules: QuotaRules(limits: set, policy: .min), groupsAreGiven: true)
}()

@Suite("The body of a call")
struct CallBodyTests {
    private static let user = "\"user\":\"\(someText)\""
    private static let operations: [CallRequest.Operation] = [
        .check, .reserve(milliseconds: 1_000), .usage(id: []), .settle(someLease), .release(someLease),
        .renew(someLease, milliseconds: 1_000),
    ]
    private static let someLease: Lease = {
        var random = SystemRandomNumberGenerator()
        return Lease(
            of: SubjectID(high: 1, low: 2), instants: .unknown, cost: 1, attributes: .none,
            isHeldInGroups: false,
            isGlobal: false, using: &random)
    }()

    private func read(
        _ text: String, _ operation: CallRequest.Operation = .check, under limits: LimitsInForce = lookingLimits
    ) -> Result<CallRequest, RequestError> {
        HTTPServerTests.read(Array(text.utf8)) { (bytes) throws(RequestError) in
            try CallBody.read(bytes, under: limits).request(operation)
        }
    }

    private func group(_ number: Int) -> String { "\"\(SubjectID(high: 1, low: UInt64(number)))\"" }

    @Test("takes null for left out, in every member and for every operation")
    func null() throws {
        let members = ["cost", "model", "provider", "labels", "groups", "usage", "lease", "request_id", "ttl"]
        let counts = [
            "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "cost_micros",
        ]
        let nulls = (members + counts).map { "\"\($0)\":null" }.joined(separator: ",")
        let inner =
            #""labels":{"team":null},"groups":[null],"usage":{"prompt_tokens":null,"prompt_tokens_details":null}"#
        for operation in Self.operations {
            let plain = try read("{\(Self.user)}", operation).get()
            #expect(read("{\(nulls),\(Self.user)}", operation) == .success(plain))
            #expect(plain.cost == 1 && plain.tokens == nil && plain.costMicros == nil && plain.attributes == .none)
            // An object that says nothing is told of, and is as nothing in all else.
            if case .check = operation { continue }
            if case .reserve = operation { continue }
            var said = try read("{\(inner),\(Self.user)}", operation).get()
            said.ignored = []
            #expect(said == plain)
        }
        #expect(read(#"{"user":null}"#) == .failure(.missingUser))
        #expect(read("{\(Self.user),\"model\":\"a\",\"model\":null}").map(\.attributes.model) == .success(nil))
    }

    @Test("takes an empty model or provider for left out, as clients write it whose language has no nil")
    func empty() throws {
        let attributes = try read(#"{\#(Self.user),"model":"","provider":""}"#).get().attributes
        #expect(attributes == .none)
    }

    @Test("of a usage tells no cost: the check has charged it, and the answer says so")
    func costOfUsage() throws {
        let request = try read(#"{\#(Self.user),"cost":2,"input_tokens":1}"#, .usage(id: [])).get()
        #expect(request.ignored.map(\.name) == [.cost] && request.tokens == TokenUsage(input: 1))
        #expect(try read(#"{\#(Self.user),"cost":2}"#).get().ignored == [])
    }

    @Test("about a lease may leave out the user, which is then the lease's")
    func ownerOfLease() throws {
        for operation in Self.operations {
            let result = read(#"{"user":null,"input_tokens":1}"#, operation)
            guard let lease = operation.lease else {
                #expect(result == .failure(.missingUser))
                continue
            }
            #expect(try result.get().user == lease.owner)
        }
    }

    @Test("takes whole numbers however JSON writes them")
    func wholeNumbers() throws {
        let body = #"{\#(Self.user),"cost":2.0,"input_tokens":1200.0,"output_tokens":1.2e3,"cost_micros":5E+2}"#
        let request = try read(body).get()
        #expect(request.cost == 2 && request.costMicros == 500)
        #expect(request.tokens == TokenUsage(input: 1_200, output: 1_200))
        let reason = "input_tokens is no whole number from 0 to 1000000000000"
        for number in ["1200.5", "-1", "1e13", "1e999999999999", "\"5\"", "true", "[1]", "{\"a\":[null]}"] {
            #expect(read("{\"input_tokens\":\(number),\(Self.user)}") == .failure(.invalidCall(reason)), "\(number)")
        }
    }

    @Test("has a user written with escapes, and a byte order mark before it")
    func escapedUser() {
        let escaped = someText.replacing("-", with: #"\u002d"#)
        #expect(read("\u{feff}{\"user\":\"\(escaped)\"}").map(\.user) == .success(someUser))
    }

    @Test("is whole where what no limit looks at is too much, too long or no text, for every operation")
    func decoration() throws {
        let many = (0..<400).map { "\"l\($0)\":\"\(String(repeating: "v", count: 300))\"" }
        let odd = [
            #""":"a""#, #""n":5"#, #""n":{"a":[]}"#, #""\ud800":1"#, #""team":"x""#, #""route":"y""#, #""route":"z""#,
        ]
        let body = "{\(Self.user),\"labels\":{\((many + odd).joined(separator: ","))}}"
        for operation in Self.operations {
            let request = try read(body, operation).get()
            #expect(request.attributes.labels == ["team": "x", "route": "z"] && request.ignored == [])
        }
        // Groups that are kept and not given are none of the call's.
        var kept = lookingLimits
        kept.groupsAreGiven = false
        let groups = #"{\#(Self.user),"groups":["x",5,\#((0..<200).map(group).joined(separator: ","))]}"#
        #expect(read(groups, under: kept).map(\.attributes.groups) == .success([]))
        #expect(read(groups, under: kept).map(\.ignored) == .success([]))
    }

    @Test("has a model, provider and label of any length, cut where no limit and no price sees it")
    func longValues() throws {
        let long = String(repeating: "m", count: 300)
        let request = try read(
            #"{\#(Self.user),"model":"\#(long)","provider":"\#(long)","labels":{"team":"\#(long)"}}"#
        )
        .get()
        #expect(request.attributes == CallAttributes(model: long, provider: long, labels: ["team": long]))
        #expect(request.ignored == [])
    }

    @Test("has the first 128 groups, and says how many of them do not count")
    func groups() throws {
        func body(_ count: Int) -> String {
            // Each twice: that is one group.
            "{\(Self.user),\"groups\":[\((0..<2 * count).map { group($0 / 2) }.joined(separator: ","))]}"
        }
        let most = try read(body(128)).get()
        #expect(most.attributes.groups.count == 128 && most.ignored == [])
        for operation in Self.operations {
            let more = try read(body(140), operation).get()
            #expect(more.attributes.groups == most.attributes.groups)
            #expect(
                more.ignored == [IgnoredMember(.groups, "there are more than 128 groups: the last 12 do not count")])
        }
    }

    @Test(
        "with a member that cannot be used is refused to a check, and counts and says so as usage, settle and release")
    func problems() throws {
        let rows: [(member: String, IgnoredMember.Name)] = [
            (#""model":5"#, .model), (#""model":"\ud83d""#, .model), (#""provider":{}"#, .provider),
            (#""labels":[]"#, .labels), (#""labels":{"team":5}"#, .labels), (#""groups":"x""#, .groups),
            (#""groups":["",\#(group(1))]"#, .groups), (#""cost":0"#, .cost), (#""input_tokens":-1"#, .inputTokens),
            (#""cache_read_input_tokens":0.5"#, .cacheReadTokens),
            (#""cache_write_input_tokens":"1""#, .cacheWriteTokens), (#""cost_micros":1e99"#, .costMicros),
            (#""usage":5"#, .usage), (#""usage":{}"#, .usage), (#""usage":{"tokens":5}"#, .usage),
        ]
        for (member, name) in rows {
            let body = #"{\#(Self.user),\#(member),"output_tokens":7}"#
            for operation in [CallRequest.Operation.check, .reserve(milliseconds: 1)] {
                guard case .failure(let error) = read(body, operation) else {
                    Issue.record("\(operation) takes \(member)")
                    continue
                }
                #expect(error.status == .badRequest)
            }
            for operation in [CallRequest.Operation.usage(id: []), .settle(Self.someLease), .release(Self.someLease)] {
                let request = try read(body, operation).get()
                #expect(request.user == someUser && request.tokens == TokenUsage(output: 7))
                #expect(request.ignored.map(\.name) == [name] && request.ignored[0].reason.isEmpty == false)
            }
        }
        let both = #"{\#(Self.user),"groups":["",\#(group(1))]}"#
        #expect(try read(both, .usage(id: [])).get().attributes.groups == [SubjectID(high: 1, low: 1)])
        // Of a repeated member the last one counts.
        #expect(try read(#"{\#(Self.user),"model":5,"model":"m"}"#).get().attributes.model == "m")
    }

    @Test("that is no JSON, or names no user, is refused to everybody")
    func unusable() {
        for operation in Self.operations {
            if operation.lease == nil { #expect(read("{}", operation) == .failure(.missingUser)) }
            #expect(read(#"{"user":""}"#, operation) == .failure(.invalidUser))
            guard case .failure(.malformedJSON) = read(#"{\#(Self.user),"labels":{"team":tru}}"#, operation) else {
                Issue.record("taken")
                continue
            }
        }
    }
}

@Suite("A provider's usage object in the body of a call")
struct UsageObjectTests {
    private func read(_ members: String, _ operation: CallRequest.Operation = .usage(id: [])) throws -> CallRequest {
        let body = Array("{\"user\":\"\(someText)\",\(members)}".utf8)
        return try HTTPServerTests.read(body) { (bytes) throws(RequestError) in
            try CallBody.read(bytes, under: .none).request(operation)
        }.get()
    }

    @Test("tells which tokens were of sound, pictures and reasoning, by details and by lists, in our own members too")
    func parts() throws {
        func parts(_ counts: [TokenPart: Int]) -> PerTokenPart<Int> { PerTokenPart { counts[$0] ?? 0 } }
        let rows: [(String, TokenUsage?)] = [
            (
                #""usage":{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"audio_tokens":30,"#
                    + #""image_tokens":20,"cached_tokens":10},"completion_tokens_details":{"audio_tokens":9}}"#,
                TokenUsage(
                    input: 90, output: 50, cacheRead: 10,
                    parts: parts([.audioInput: 30, .imageInput: 20, .audioOutput: 9]))
            ),
            (
                #""usage":{"input_tokens":50,"output_tokens":4160,"input_tokens_details":{"image_tokens":40},"#
                    + #""output_tokens_details":{"image_tokens":4160}}"#,
                TokenUsage(input: 50, output: 4_160, parts: parts([.imageInput: 40, .imageOutput: 4_160]))
            ),
            (
                #""usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":60,"#
                    + #""promptTokensDetails":[{"modality":"AUDIO","tokenCount":70},{"tokenCount":20,"modality":"TEXT"},"#
                    + #""x",null,{"modality":"IMAGE","tokenCount":10}],"cacheTokensDetails":[{"modality":"AUDIO","#
                    + #""tokenCount":40}],"candidatesTokensDetails":[{"modality":"\u0041UDIO","tokenCount":60}]}"#,
                TokenUsage(
                    input: 60, output: 60, cacheRead: 40,
                    parts: parts([.audioInput: 30, .imageInput: 10, .audioOutput: 60]))
            ),
            (
                #""usage":{"prompt_token_count":5,"prompt_tokens_details":[{"modality":"IMAGE","token_count":5}]}"#,
                TokenUsage(input: 5, parts: parts([.imageInput: 5]))
            ),
            (
                #""output_tokens":10,"reasoning_tokens":4,"audio_input_tokens":3,"image_input_tokens":2"#,
                TokenUsage(
                    input: 5, output: 10, parts: parts([.reasoning: 4, .audioInput: 3, .imageInput: 2]))
            ),
            (#""reasoning_tokens":null"#, nil),
        ]
        for (members, tokens) in rows {
            let request = try read(members)
            #expect(request.tokens == tokens && request.ignored == [], "\(members)")
        }
        let wrong = try read(
            #""usage":{"promptTokenCount":5,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":-1}]}"#
        )
        #expect(wrong.tokens == TokenUsage(input: 5) && wrong.ignored.map(\.name) == [.usage])
    }

    @Test("is counted as the provider means it, with all that stands in it besides")
    func providers() throws {
        let openAIChat = """
            "usage": {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
              "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}
            """
        let openAIResponses = """
            "usage": {"input_tokens": 2006, "input_tokens_details": {"cached_tokens": 1920}, "output_tokens": 300,
              "output_tokens_details": {"reasoning_tokens": 128}, "total_tokens": 2306}
            """
        let anthropic = """
            "usage": {"input_tokens": 86, "cache_creation_input_tokens": 40, "cache_read_input_tokens": 1920,
              "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 0},
              "output_tokens": 300, "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard"}
            """
        let gemini = """
            "usageMetadata": {"promptTokenCount": 2006, "cachedContentTokenCount": 1920, "candidatesTokenCount": 172,
              "thoughtsTokenCount": 128, "toolUsePromptTokenCount": 14, "totalTokenCount": 2320,
              "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2006}], "trafficType": "ON_DEMAND"}
            """
        func thinking(input: Int) -> TokenUsage? {
            TokenUsage(
                input: input, output: 300, cacheRead: 1_920, parts: PerTokenPart { $0 == .reasoning ? 128 : 0 })
        }
        let rows: [(String, TokenUsage?)] = [
            (openAIChat, thinking(input: 86)), (openAIResponses, thinking(input: 86)),
            (anthropic, TokenUsage(input: 86, output: 300, cacheRead: 1_920, cacheWrite: 40)),
            (gemini, thinking(input: 100)), (gemini.replacing("usageMetadata", with: "usage"), thinking(input: 100)),
        ]
        for (members, tokens) in rows {
            for operation in [CallRequest.Operation.usage(id: []), .check, .reserve(milliseconds: 1)] {
                let request = try read(members, operation)
                #expect(request.tokens == tokens && request.ignored == [], "\(members)")
            }
        }
    }

    @Test("that is of no known form counts no tokens, and the answer says so")
    func unknown() throws {
        for object in ["{}", #"{"tokens":5,"usage":{"prompt_tokens":5}}"#, #"{"prompt_tokens":null}"#] {
            let request = try read("\"usage\":\(object)")
            #expect(request.tokens == nil)
            #expect(request.ignored.map(\.name) == [.usage], "\(object)")
        }
        let beside = try read(#""usage":{"x":1},"input_tokens":5"#)
        #expect(beside.tokens == TokenUsage(input: 5) && beside.ignored.map(\.name) == [.usage])
    }

    @Test("with a count that is none counts the others, and the answer names it")
    func unusableCount() throws {
        let request = try read(#""usage":{"prompt_tokens":"5","completion_tokens":7.0}"#)
        #expect(request.tokens == TokenUsage(output: 7))
        #expect(
            request.ignored == [
                IgnoredMember(.usage, "prompt_tokens of usage is no whole number from 0 to 1000000000000")
            ])
    }

    @Test("beside counts of our own is what counts, and the answer says so; a check is refused")
    func both() throws {
        let members = #""output_tokens":1,"usage":{"input_tokens":5,"output_tokens":6},"cache_write_input_tokens":2"#
        let request = try read(members)
        #expect(request.tokens == TokenUsage(input: 5, output: 6))
        #expect(request.ignored.map(\.name) == [.outputTokens, .cacheWriteTokens])
        #expect(
            throws: RequestError.invalidCall("output_tokens stands beside usage, which counts: send one of them")
        ) { try read(members, .check) }
    }
}

@Suite("The query of a call")
struct CallQueryTests {
    private func read(_ query: String) -> Result<CallRequest, RequestError> {
        result { () throws(RequestError) in
            try CallQuery.read(Array(query.utf8), under: lookingLimits).body.request(.check)
        }
    }

    @Test("has blanks for plus signs, and names and values with their encoding resolved")
    func encoding() throws {
        let request = try read(
            "%75ser=\(someText)&label.team=Data+Science&label%2Eroute=%2Fv1%2Fchat%2b&mod%65l=gpt+4%C3%A9&cost=2.0"
        ).get()
        #expect(request.user == someUser && request.cost == 2 && request.attributes.model == "gpt 4é")
        #expect(request.attributes.labels == ["team": "Data Science", "route": "/v1/chat+"])
    }

    @Test("may hold anything in parameters that nobody reads, or under no name")
    func unread() throws {
        for parameter in [
            "next=100%", "next=%", "%=1", "%zz=1", "=", "=5", "&&", "a", "label.other=100%", "label.=x", "n=%ff",
        ] {
            #expect(read("user=\(someText)&\(parameter)").map(\.user) == .success(someUser), "\(parameter)")
        }
    }

    @Test("is refused where what is read cannot be: a value encoded wrongly, or no user, cost or group")
    func refused() {
        for parameter in ["model=100%", "model=%ff", "label.team=%", "cost=1.5", "cost=", "group=", "group=%"] {
            guard case .failure(let error) = read("user=\(someText)&\(parameter)") else {
                Issue.record("\(parameter) is taken")
                continue
            }
            #expect(error.status == .badRequest)
        }
        #expect(read("user=") == .failure(.invalidUser) && read("cost=1") == .failure(.missingUser))
    }

    @Test("has the last of what is repeated, each group once, and the first 128 of them")
    func repeated() throws {
        let request = try read(
            "user=\(someText)&model=a&model=b&label.team=x&label.team=y&group=\(someText)&group=\(someText)"
        ).get()
        #expect(request.attributes.model == "b" && request.attributes.labels == ["team": "y"])
        #expect(request.attributes.groups == [someUser])
        let groups = (0..<130).map { "group=\(SubjectID(high: 1, low: UInt64($0)))" }.joined(separator: "&")
        let many = try read("user=\(someText)&\(groups)").get()
        #expect(many.attributes.groups.count == 128)
        #expect(many.ignored.map(\.name) == [.groups])
    }

    @Test("of a body's route is read for verbose alone, so that no usage is lost to it")
    func besideBody() throws {
        for (query, isVerbose) in [
            ("verbose=1&user=x&cost=%", true), ("verbose=true", true), ("model=%&verbose=0", false),
        ] {
            let request = Router.Request(
                method: .POST, uri: "/v1/usage?\(query)", hasLength: true, isAdmin: false, leases: LeaseTimes(),
                limits: lookingLimits, body: Array("{\"user\":\"\(someText)\"}".utf8))
            let route = try result { () throws(RequestError) in try Router.route(request) }.get()
            let expected = CallRequest(user: someUser, operation: .usage(id: []))
            #expect(route == .call(RoutedCall(request: expected, isVerbose: isVerbose)))
        }
    }
}
