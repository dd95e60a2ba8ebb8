import NIOCore
import RateLimitCore
import RateLimitService
import Testing

@testable import GRPCServer

@Suite("A request in the domain of the daemon's own limits")
struct LimitsDomainRequestTests {
    private func limits(labels: [String] = [], groupsAreGiven: Bool = true) throws -> LimitsInForce {
        let definition = LimitDefinition(
            name: try #require(LimitName("l")), scope: .user, values: labels.map { .label($0) }, unit: .requests,
            quota: 1, window: .sliding(milliseconds: 1_000))
        return LimitsInForce(
            rules: QuotaRules(limits: LimitSet(definition), policy: .min), groupsAreGiven: groupsAreGiven)
    }

    private func request(
        _ descriptors: [Descriptor], hits: Int = 1, under limits: LimitsInForce? = nil
    ) throws -> LimitsDomainRequest {
        try LimitsDomainRequest(
            DescriptorRequest(domain: "llm-rate-limit", descriptors: descriptors, hits: hits),
            under: try limits ?? self.limits())
    }

    private func descriptor(_ entries: KeyValuePairs<String, String>, hits: Int? = nil) -> Descriptor {
        Descriptor(entries.map { DescriptorEntry($0, $1) }, hits: hits)
    }

    private func problem(_ descriptors: [Descriptor]) -> String? {
        do { _ = try request(descriptors) } catch {
            guard let error = error as? GRPCError, error.code == .invalidArgument else { return nil }
            return error.message
        }
        return nil
    }

    private var ada: SubjectID { SubjectID("ada")! }

    @Test("asks for whom and what its entries name, of labels and groups only what limits look at")
    func attributes() throws {
        let entries: KeyValuePairs = [
            "user": "ada", "group": "red", "model": "gpt", "group": "blue", "provider": "p", "label.tenant": "t",
            "label.other": "o",
        ]
        let groups = [try #require(SubjectID("red")), try #require(SubjectID("blue"))]
        for isGiven in [true, false] {
            let attributes = CallAttributes(
                model: "gpt", provider: "p", labels: ["tenant": "t"], groups: isGiven ? groups : [])
            let request = try request(
                [descriptor(entries)], hits: 3, under: try limits(labels: ["tenant"], groupsAreGiven: isGiven))
            let call = CallRequest(user: ada, attributes: attributes, cost: 3)
            #expect(request.steps == [.init(kind: .ask, request: call)])
        }
    }

    @Test("looks where its hits are 0, holds where it has an id, and counts by its own hits before the request's")
    func kinds() throws {
        for (hits, id, kind, cost, holds) in [
            (nil, "", .ask, 7, false), (5, "", .ask, 5, false), (0, "", .peek, 0, false), (0, "r1", .ask, 0, true),
            (2, "r1", .ask, 2, true), (0, String(repeating: "r", count: 129), .peek, 0, false),
        ] as [(Int?, String, LimitsDomainRequest.Step.Kind, Int, Bool)] {
            let step = try request([descriptor(["user": "ada", "x-request-id": id], hits: hits)], hits: 7).steps[0]
            #expect(step.kind == kind && step.request?.cost == cost && step.requestID == (holds ? Array(id.utf8) : nil))
        }
    }

    @Test("tells once what a call came to, however many descriptors charge it")
    func charges() throws {
        let request = try request([
            descriptor(["user": "ada", "model": "m", "charge": "output_tokens", "x-request-id": "r"], hits: 20),
            descriptor(["user": "bob", "charge": "tokens"], hits: 5),
            descriptor(["charge": "input_tokens", "model": "m", "user": "ada", "x-request-id": "r"], hits: 100),
            descriptor(["user": "ada", "model": "m", "charge": "spend_micros", "x-request-id": "r"], hits: 0),
        ])
        #expect(request.stepOfDescriptor == [0, 1, 0, 0])
        let first = CallRequest(
            user: ada, operation: .usage(id: Array("r".utf8)), attributes: CallAttributes(model: "m"),
            tokens: TokenUsage(input: 100, output: 20), told: [.input, .output], costMicros: 0)
        let second = CallRequest(
            user: try #require(SubjectID("bob")), operation: .usage(id: []), tokens: TokenUsage(input: 5),
            told: [.input, .output])
        #expect(
            request.steps == [
                .init(kind: .charge, request: first, requestID: Array("r".utf8)), .init(kind: .charge, request: second),
            ])
    }

    @Test("takes two Unicode forms of a name for two")
    func exactNames() throws {
        let request = try request([
            descriptor(["user": "ada", "model": "\u{e9}", "charge": "tokens"], hits: 20),
            descriptor(["user": "ada", "model": "e\u{301}", "charge": "tokens"], hits: 5),
            descriptor(["user": "ada", "charge": "tokens", "label.t": "\u{e9}"], hits: 20),
            descriptor(["user": "ada", "charge": "tokens", "label.t": "e\u{301}"], hits: 5),
        ])
        #expect(request.stepOfDescriptor == [0, 1, 2, 3])
    }

    @Test("counts what tokens says beyond the kinds that are told as the kind that is not")
    func tokens() {
        for (told, input, output) in [
            ([.tokens: 30], 30, 0), ([.tokens: 30, .outputTokens: 10], 20, 10),
            ([.tokens: 30, .inputTokens: 10], 10, 20),
            ([.tokens: 30, .inputTokens: 10, .outputTokens: 5], 10, 5), ([.outputTokens: 10], 0, 10),
            ([.inputTokens: 10], 10, 0), ([.tokens: 5, .outputTokens: 10], 0, 10),
        ] as [([Charge: Int], Int, Int)] {
            var amounts = ChargedAmounts()
            for (charge, hits) in told { amounts.add(hits, of: charge) }
            #expect(amounts.tokens == TokenUsage(input: input, output: output), "\(told)")
        }
        #expect(ChargedAmounts().tokens == nil && ChargedAmounts().costMicros == nil)
        var most = ChargedAmounts()
        for charge in Charge.allCases {
            for _ in 0..<3 { most.add(Descriptor.mostHits, of: charge) }
        }
        #expect(most.tokens?.output == TokenUsage.counts.upperBound && most.costMicros == ModelPrice.spends.upperBound)
    }

    @Test("does first what may deny, then what charges")
    func order() throws {
        let request = try request([
            descriptor(["user": "ada", "charge": "tokens"], hits: 5), descriptor(["user": "ada"]),
            descriptor(["user": "bob"], hits: 0), descriptor(["user": ""], hits: 0),
        ])
        #expect(request.steps.map(\.kind) == [.deny, .peek, .ask, .charge])
        #expect(request.stepOfDescriptor == [3, 2, 1, 0])
    }

    @Test("denies by itself for a value that a client has chosen and that cannot be used")
    func unusable() throws {
        let long = String(repeating: "u", count: 257)
        for descriptor in [
            descriptor(["user": ""]), descriptor(["user": long]), descriptor(["user": "ada", "group": long]),
            descriptor(["user": "ada"], hits: 1_000_001),
        ] {
            #expect(try request([descriptor]).steps == [.init(kind: .deny)])
        }
        #expect(try request([descriptor(["user": "ada"], hits: 1_000_000)]).steps[0].kind == .ask)
    }

    @Test("charges what a call came to though it names a group that is none, as HTTP does")
    func unusableGroup() throws {
        let long = String(repeating: "g", count: 257)
        let charge = descriptor(["user": "ada", "group": long, "group": "red", "charge": "input_tokens"], hits: 5)
        let call = CallRequest(
            user: ada, operation: .usage(id: []),
            attributes: CallAttributes(groups: [try #require(SubjectID("red"))]), tokens: TokenUsage(input: 5),
            told: [.input])
        #expect(try request([charge]).steps == [.init(kind: .charge, request: call)])
        // Where the user is none there is nobody to charge.
        #expect(try request([descriptor(["user": "", "charge": "tokens"], hits: 5)]).steps == [.init(kind: .deny)])
    }

    @Test("gives back what negative hits name, of one call together and after all else; requests where it is no charge")
    func refunds() throws {
        func refund(_ entries: KeyValuePairs<String, String>, hits: Int) -> Descriptor {
            var refund = descriptor(entries, hits: hits)
            refund.isRefund = true
            return refund
        }
        let request = try request([
            refund(["user": "ada", "x-request-id": "r", "charge": "tokens"], hits: 5),
            descriptor(["user": "ada"]), descriptor(["user": "ada", "charge": "output_tokens"], hits: 7),
            refund(["user": "ada", "x-request-id": "r"], hits: 2),
            refund(["user": "ada", "x-request-id": "r", "charge": "spend_micros"], hits: 9),
        ])
        #expect(request.stepOfDescriptor == [2, 0, 1, 2, 2])
        #expect(request.steps.map(\.kind) == [.ask, .charge, .refund])
        let call = CallRequest(
            user: ada, operation: .refund(id: Array("r".utf8)), cost: 2, tokens: TokenUsage(input: 5),
            told: [.input, .output], costMicros: 9)
        #expect(request.steps[2].request == call)
        #expect(try self.request([refund(["user": ""], hits: 5)]).steps == [.init(kind: .deny)])
    }

    @Test("is refused for what an operator has written and nobody can mean")
    func refused() {
        var limited = descriptor(["user": "ada"])
        limited.quota = DescriptorQuota(1, per: .second)
        for (descriptors, reason) in [
            ([descriptor(["model": "m"])], "it has no entry user"), ([], "it has no entry user"),
            ([descriptor(["user": "a", "modle": "m"])], "it has the entry modle; accepted are user, group,"),
            ([descriptor(["user": "a", "label.": "m"])], "it has the entry label.; accepted are"),
            ([descriptor(["user": "a", "user": "b"])], "it has the entry user twice"),
            ([descriptor(["user": "a", "label.x": "1", "label.x": "2"])], "it has the entry label.x twice"),
            ([descriptor(["user": "a", "charge": "requests"])], "it charges requests; accepted are tokens,"),
            ([limited], "it has a limit of its own"),
            ([descriptor(["user": "a"]), descriptor(["user": "b"])], "several descriptors that ask"),
            (
                [descriptor(["user": "a", "x-request-id": "1"], hits: 0), descriptor(["user": "b"])],
                "several descriptors that ask"
            ),
        ] as [([Descriptor], String)] {
            let problem = problem(descriptors.isEmpty ? [Descriptor([])] : descriptors)
            #expect(problem?.contains(reason) == true, "\(problem as Any)")
            #expect(problem?.hasPrefix("cannot decide for ") == true)
        }
        #expect(problem([descriptor(["user": "a"]), descriptor(["user": "b"], hits: 0)]) == nil)
    }
}

@Suite("The calls that are under way")
struct ReservedCallsTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private func key(_ id: Int) throws -> ReservedCalls.Key {
        ReservedCalls.Key(user: try #require(SubjectID("u")), requestID: Array("\(id)".utf8))
    }

    private func lease() throws -> Lease {
        var random = SystemRandomNumberGenerator()
        return Lease(
            of: try #require(SubjectID("u")), instants: .unknown, cost: 1, attributes: .none, isHeldInGroups: false,
            isGlobal: false, using: &random)
    }

    @Test("are known until their lease lapses, and give it up once, also then")
    func lapse() throws {
        var calls = ReservedCalls()
        let lease = try lease()
        let key = try key(1)
        calls.set(.reserving, of: key, at: start)
        #expect(calls.state(of: key, at: start) == .reserving)
        let state = ReservedCalls.State.held(lease, lapsesAt: start + .seconds(60))
        calls.set(state, of: key, at: start)
        #expect(calls.state(of: key, at: start + .seconds(59)) == state)
        #expect(calls.state(of: key, at: start + .seconds(60)) == nil)
        #expect(calls.state(of: try self.key(2), at: start) == nil)
        #expect(calls.remove(key) == lease && calls.remove(key) == nil && calls.count == 0)
    }

    @Test("are so many at most, and the youngest of them are known")
    func bounds() throws {
        var calls = ReservedCalls(capacity: 100)
        for id in 0..<1_000 {
            calls.set(.reserving, of: try key(id), at: start)
            #expect(calls.count <= 202)
            for recent in max(0, id - 99)...id { #expect(calls.state(of: try key(recent), at: start) == .reserving) }
        }
    }

    @Test("are not forgotten while a long lease of theirs may hold, however many generations others begin")
    func longLeases() throws {
        var calls = ReservedCalls()
        let lease = try lease()
        calls.set(.held(lease, lapsesAt: start + .hours(2)), of: try key(0), at: start)
        for minutes in 1...23 {
            calls.set(.reserving, of: try key(minutes), at: start + .minutes(Int64(minutes) * 5))
        }
        #expect(calls.remove(try key(0)) == lease)
    }

    @Test("are forgotten in time, and one that is told of again is younger")
    func time() throws {
        var calls = ReservedCalls()
        calls.set(.reserving, of: try key(0), at: start)
        for minutes in 1...9 {
            let now = start + .minutes(Int64(minutes) * 10)
            calls.set(.reserving, of: try key(minutes), at: now)
            #expect(calls.state(of: try key(minutes), at: now) == .reserving)
            calls.set(.reserving, of: try key(0), at: now)
            #expect(calls.state(of: try key(0), at: now) == .reserving)
            #expect(calls.count <= 4)
        }
        #expect(calls.state(of: try key(5), at: start) == nil)
    }
}
