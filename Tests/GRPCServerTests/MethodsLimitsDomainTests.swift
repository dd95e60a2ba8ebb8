import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

@Suite("The domain of the daemon's own limits, on a real Redis")
struct LimitsDomainTests {
    private func code(_ outcome: Outcome) -> RateLimitResponse.Code { RateLimitResponse.code(of: outcome) }

    private func standing(_ outcome: Outcome) throws -> DescriptorStanding {
        try #require(outcome.details?.descriptors.first)
    }

    @Test("admits as many requests as there may be, and denies the next with its wait; Envoy is told which limit")
    func requests() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("rpm", .requests, 3, windowMilliseconds: 120_000)]))
        let request = limitsRequest([TestDescriptor(["user": "ada"])])
        for left in [2, 1, 0] {
            let outcome = try await method.outcome(request)
            #expect(code(outcome) == .ok)
            #expect(try standing(outcome).remaining == left)
        }
        let answer = try await method.call(request)
        let denied = try #require(answer.outcome)
        #expect(code(denied) == .overLimit)
        let wait = try #require(try standing(denied).resetAfterMilliseconds)
        #expect(denied.verdict == .denied(retryAfterMilliseconds: wait) && 1...120_000 ~= wait)
        let message = try #require(answer.message)
        let text = try #require(Protoc.decode([message], as: "RateLimitResponse").first)
        #expect(
            text.hasPrefix(
                """
                overall_code: OVER_LIMIT statuses { code: OVER_LIMIT \
                current_limit { requests_per_unit: 3 unit: MINUTE name: "rpm" unit_multiplier { value: 2 } } \
                duration_until_reset {
                """), "\(text)")
        #expect(text.contains("key: \"retry-after\""))
        // Somebody else is not concerned.
        #expect(code(try await method.outcome(limitsRequest([TestDescriptor(["user": "bob"])]))) == .ok)
    }

    @Test("takes hits whole or not at all, and lets a look pass while anything is left, at no cost")
    func hits() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("rpm", .requests, 10), try userLimit("tpm", .tokens(.total), 100)]))
        let look = limitsRequest([TestDescriptor(["user": "ada"], hits: 0)])
        for _ in 0..<3 { #expect(code(try await method.outcome(look)) == .ok) }
        func ask(_ hits: Int) async throws -> RateLimitResponse.Code {
            code(try await method.outcome(limitsRequest([TestDescriptor(["user": "ada"])], hits: hits)))
        }
        #expect(try await ask(6) == .ok)
        #expect(try await ask(5) == .overLimit)
        #expect(code(try await method.outcome(look)) == .ok)
        #expect(try await ask(4) == .ok)
        let full = try await method.outcome(look)
        #expect(code(full) == .overLimit)
        #expect(try standing(full).limit?.definition.name == "rpm")
    }

    @Test("charges tokens that a stream came to whatever is left, and looks then deny")
    func charges() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(redis, try policy([try userLimit("tpm", .tokens(.total), 100)]))
        let look = limitsRequest([TestDescriptor(["user": "ada"], hits: 0)])
        func charge(_ hits: Int) async throws -> Outcome {
            try await method.outcome(limitsRequest([TestDescriptor(["user": "ada", "charge": "tokens"], hits: hits)]))
        }
        #expect(code(try await charge(90)) == .ok)
        #expect(code(try await method.outcome(look)) == .ok)
        // It passes the limit, is charged all the same, and told so.
        let over = try await charge(50)
        #expect(code(over) == .overLimit && over.verdict == .allowed)
        #expect(over.binding?.used == 140)
        #expect(code(try await method.outcome(look)) == .overLimit)
    }

    @Test("gives back what was charged by mistake, once for each id, and is OK where nothing is left")
    func refunds() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("rpm", .requests, 10), try userLimit("tpm", .tokens(.total), 100)]))
        func tell(_ entries: KeyValuePairs<String, String>, _ hits: Int, isRefund: Bool) async throws -> Outcome {
            var descriptor = TestDescriptor(entries, hits: hits)
            descriptor.isRefund = isRefund
            return try await method.outcome(limitsRequest([descriptor]))
        }
        let tokens: KeyValuePairs = ["user": "ada", "charge": "tokens", "x-request-id": "r"]
        #expect(try await tell(tokens, 90, isRefund: false).verdict == .allowed)
        #expect(try await tell(["user": "ada"], 3, isRefund: false).isAllowed)
        let refunded = try await tell(tokens, 40, isRefund: true)
        #expect(code(refunded) == .ok && refunded.verdict == .allowed)
        #expect(try await tell(tokens, 40, isRefund: true).verdict == .repeated)
        #expect(try await method.usage(of: "ada") == ["rpm": 3, "tpm": 50])
        for _ in 0..<3 { #expect(code(try await tell(["user": "ada"], 2, isRefund: true)) == .ok) }
        #expect(try await method.usage(of: "ada") == ["rpm": 0, "tpm": 50])
    }

    @Test("holds the learned estimate under the id of a request, so that concurrent streams cannot overshoot")
    func concurrent() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(redis, try policy([try userLimit("tpm", .tokens(.total), 1_000)]))
        func charge(_ id: String, _ hits: Int) -> [UInt8] {
            limitsRequest([TestDescriptor(["user": "ada", "charge": "tokens", "x-request-id": id], hits: hits)])
        }
        func peek(_ id: String) -> [UInt8] {
            limitsRequest([TestDescriptor(["user": "ada", "x-request-id": id], hits: 0)])
        }
        // What calls come to is learned: 100 each.
        for id in 0..<5 { #expect(try await method.outcome(charge("past-\(id)", 100)).isAllowed) }
        // 500 are left: of 20 streams that begin at once 5 go on.
        let answers = try await method.calls((0..<20).map { peek("\($0)") })
        let admitted = answers.indices.filter { answers[$0].outcome?.isAllowed == true }
        #expect(admitted.count == 5)
        // Without ids all of them would.
        let plain = limitsRequest([TestDescriptor(["user": "bob"], hits: 0)])
        #expect(try await method.calls((0..<20).map { _ in plain }).allSatisfy { $0.outcome?.isAllowed == true })
        // Each came to 60 tokens: 200 more are left, for two more.
        for index in admitted { #expect(try await method.outcome(charge("\(index)", 60)).verdict == .allowed) }
        let used = try await method.outcome(limitsRequest([TestDescriptor(["user": "ada"], hits: 0)]))
        #expect(used.binding?.used == 800)
    }

    @Test("holds once for an id however often it is asked, settles once, and charges what is told then by itself")
    func once() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("open", .concurrency, 2), try userLimit("tpm", .tokens(.total), 1_000)]))
        let peek = limitsRequest([TestDescriptor(["user": "ada", "x-request-id": "r"], hits: 0)])
        func open() async throws -> Int? {
            try await method.usage(of: "ada")["open"]
        }
        // Together, and one after the other.
        #expect(try await method.calls([peek, peek, peek]).allSatisfy { $0.outcome?.isAllowed == true })
        for _ in 0..<3 { #expect(try await method.outcome(peek).isAllowed) }
        #expect(try await open() == 1)
        let charge = limitsRequest([
            TestDescriptor(["user": "ada", "charge": "input_tokens", "x-request-id": "r"], hits: 30),
            TestDescriptor(["user": "ada", "charge": "output_tokens", "x-request-id": "r"], hits: 12),
        ])
        let settled = try await method.outcome(charge)
        #expect(settled.verdict == .allowed && settled.details?.descriptors.count == 2)
        #expect(try await method.usage(of: "ada") == ["open": 0, "tpm": 42])
        // The lease is gone: what is told under the id is a report of its own, counted once.
        #expect(try await method.outcome(charge).verdict == .allowed)
        #expect(try await method.outcome(charge).verdict == .repeated)
        #expect(try await method.usage(of: "ada") == ["open": 0, "tpm": 84])
        // The id can be used anew.
        #expect(try await method.outcome(peek).isAllowed)
        #expect(try await open() == 1)
    }

    @Test("gives back what it held for a call that its proxy has not waited for, and that has ended")
    func impatient() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("open", .concurrency, 2), try userLimit("tpm", .tokens(.total), 1_000)]))
        let peek = limitsRequest([TestDescriptor(["user": "ada", "x-request-id": "r"], hits: 0)])
        let charge = limitsRequest([TestDescriptor(["user": "ada", "charge": "tokens", "x-request-id": "r"], hits: 7)])
        #expect(try await method.calls([peek, charge]).allSatisfy { $0.outcome?.isAllowed == true })
        #expect(try await method.usage(of: "ada") == ["open": 0, "tpm": 7])
    }

    @Test("a call that is denied holds nothing, and a stream that nobody ends lapses by itself")
    func lapse() async throws {
        let redis = try RedisServer()
        var policy = try policy([try userLimit("open", .concurrency, 1)])
        policy.limits.leases.usualMilliseconds = 1_000
        let method = try await MethodUnderTest(redis, policy)
        func peek(_ id: String) -> [UInt8] {
            limitsRequest([TestDescriptor(["user": "ada", "x-request-id": id], hits: 0)])
        }
        #expect(try await method.outcome(peek("a")).isAllowed)
        let denied = try await method.outcome(peek("b"))
        #expect(denied.details?.descriptors.first?.isOver == true && code(denied) == .overLimit)
        var isFree = false
        for _ in 0..<200 where !isFree {
            try await Task.sleep(for: .milliseconds(50))
            isFree = try await method.outcome(peek("b")).isAllowed
        }
        #expect(isFree)
        #expect(try await method.usage(of: "ada") == ["open": 1])
    }

    @Test("charges requests and holds tokens where a descriptor with an id counts hits")
    func reserveWithHits() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("rpm", .requests, 10), try userLimit("open", .concurrency, 5)]))
        let ask = limitsRequest([TestDescriptor(["user": "ada", "x-request-id": "r"])])
        #expect(try await method.outcome(ask).isAllowed)
        #expect(try await method.usage(of: "ada") == ["rpm": 1, "open": 1])
        let charge = limitsRequest([TestDescriptor(["user": "ada", "charge": "tokens", "x-request-id": "r"], hits: 9)])
        #expect(try await method.outcome(charge).isAllowed)
        #expect(try await method.usage(of: "ada") == ["rpm": 1, "open": 0])
    }

    @Test("takes nothing of one descriptor where another denies, and says of each in its order")
    func mixed() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis, try policy([try userLimit("rpm", .requests, 2), try userLimit("tpm", .tokens(.total), 100)]))
        let full = limitsRequest([TestDescriptor(["user": "bob"])], hits: 2)
        #expect(try await method.outcome(full).isAllowed)
        let mixed = limitsRequest([
            TestDescriptor(["user": "ada", "charge": "tokens"], hits: 5), TestDescriptor(["user": "ada"]),
            TestDescriptor(["user": "bob"], hits: 0),
        ])
        let denied = try await method.outcome(mixed)
        #expect(code(denied) == .overLimit)
        #expect(denied.details?.descriptors.map(\.isOver) == [false, false, true])
        #expect(try await method.usage(of: "ada") == ["rpm": 0, "tpm": 0])
        let allowed = limitsRequest([
            TestDescriptor(["user": "ada", "charge": "tokens"], hits: 5), TestDescriptor(["user": "ada"]),
            TestDescriptor(["user": "eve"], hits: 0),
        ])
        let done = try await method.outcome(allowed)
        #expect(code(done) == .ok && done.details?.descriptors.map(\.remaining) == [95, 1, 2])
        #expect(try await method.usage(of: "ada") == ["rpm": 1, "tpm": 5])
    }

    @Test("is allowed while Redis is away, and a charge that nobody took is an error; a closed limit denies")
    func withoutRedis() async throws {
        let redis = try RedisServer(isStarted: false)
        let limit = try userLimit("rpm", .requests, 5)
        let method = try await MethodUnderTest(redis, try policy([limit]), startsConnected: false)
        let ask = limitsRequest([TestDescriptor(["user": "ada", "x-request-id": "r"])])
        let open = try await method.outcome(ask)
        #expect(code(open) == .ok && open.degradedReason == .redisUnreachable)
        let charge = limitsRequest([TestDescriptor(["user": "ada", "charge": "tokens"], hits: 5)])
        let error = try await method.call(charge).error
        #expect(error?.code == .unavailable && error?.message.hasPrefix("cannot charge") == true)
        let closed = try await MethodUnderTest(
            redis, try policy([try userLimit("rpm", .requests, 5, failureMode: .closed)]), startsConnected: false)
        let refused = try await closed.outcome(ask)
        #expect(code(refused) == .overLimit && refused.degradedReason == .redisUnreachable)
    }

    @Test("lets everything pass in shadow mode, and says which descriptor would have been denied")
    func shadow() async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis,
            try policy(
                [try userLimit("rpm", .requests, 1), try userLimit("tpm", .tokens(.total), 10)], isShadow: true))
        let ask = limitsRequest([TestDescriptor(["user": "ada"])])
        #expect(try await method.outcome(ask).details?.descriptors.map(\.isOver) == [false])
        let over = try await method.outcome(ask)
        #expect(code(over) == .ok && over.details?.descriptors.map(\.isOver) == [true])
        // Also what passes its limit by a report, and a value that cannot be used.
        let unusable = limitsRequest([TestDescriptor(["user": ""])])
        let report = limitsRequest([TestDescriptor(["user": "ada", "charge": "tokens"], hits: 50)])
        for request in [unusable, report] {
            let answer = try await method.call(request)
            let message = try #require(answer.message)
            #expect(
                try #require(Protoc.decode([message], as: "RateLimitResponse").first).hasPrefix("overall_code: OK "))
        }
    }

    @Test("meets the limit of checks where there are no others")
    func checks() async throws {
        let redis = try RedisServer()
        let limit = Limit(name: "requests", quota: 2, windowMilliseconds: 60_000)
        let method = try await MethodUnderTest(redis, CheckPolicy(limit: limit))
        let ask = limitsRequest([TestDescriptor(["user": "ada"])])
        #expect(try await method.calls([ask, ask, ask]).map { $0.outcome?.isAllowed } == [true, true, false])
    }

    /// What is asked of a call under way, in both ways.
    private enum Ask: CaseIterable { case check, peek, reserve, settle, usage }

    @Test("decides as HTTP's doors do, whatever is asked in which order", arguments: 1...4 as ClosedRange<UInt64>)
    func differential(_ seed: UInt64) async throws {
        let redis = try RedisServer()
        let method = try await MethodUnderTest(
            redis,
            try policy([
                try userLimit("rpm", .requests, 25), try userLimit("tpm", .tokens(.total), 400),
                try userLimit("out", .tokens(.output), 200, isShadow: true), try userLimit("open", .concurrency, 3),
            ]))
        var generator = SeededGenerator(seed: seed)
        // Each side's own model, since what is learned of one is learned for all.
        let (ada, bob) = ("ada", try #require(SubjectID("bob")))
        let attributes = CallAttributes(model: "bob's")
        var leases: [Int: Lease] = [:]
        var next = 0
        func entries(_ id: Int?) -> KeyValuePairs<String, String> {
            id.map { ["user": ada, "model": "ada's", "x-request-id": "\($0)"] } ?? ["user": ada, "model": "ada's"]
        }
        for _ in 0..<120 {
            let hits = Int.random(in: 1...4, using: &generator)
            let amount = Int.random(in: 0...30, using: &generator)
            let tokens = try #require(TokenUsage(input: amount, output: amount / 2))
            let message: [UInt8]
            var request = CallRequest(user: bob, attributes: attributes, cost: hits)
            var reserved: Int?
            switch Ask.allCases.randomElement(using: &generator) ?? .check {
            case .check: message = limitsRequest([TestDescriptor(entries(nil), hits: hits)])
            case .peek:
                message = limitsRequest([TestDescriptor(entries(nil), hits: 0)])
                request.cost = 0
            case .reserve:
                next += 1
                reserved = next
                message = limitsRequest([TestDescriptor(entries(next))], hits: hits)
                request.operation = .reserve(milliseconds: 60_000)
            case .settle, .usage:
                let id = leases.keys.sorted().randomElement(using: &generator) ?? 0
                message = charges(id == 0 ? nil : id, tokens)
                request = CallRequest(
                    user: bob, operation: leases[id].map { .settle($0) } ?? .usage(id: []), attributes: attributes,
                    tokens: tokens, told: [.input, .output])
                leases[id] = nil
            }
            let (told, direct) = (try await method.outcome(message), try await method.direct(request))
            if let reserved { leases[reserved] = direct.details?.lease }
            #expect(told.isAllowed == direct.isAllowed, "\(told) \(direct)")
            #expect(told.binding?.used == direct.binding?.used)
            #expect(told.details?.binding?.limit.name == direct.details?.binding?.limit.name)
        }
        let used = try await method.usage(of: "ada")
        #expect(used == (try await method.usage(of: "bob")))
        #expect(used.values.contains { $0 > 0 })
    }

    /// What a stream came to, under the id of its request where it has one.
    private func charges(_ id: Int?, _ tokens: TokenUsage) -> [UInt8] {
        func descriptor(_ charge: String, _ hits: Int) -> TestDescriptor {
            TestDescriptor(
                ["user": "ada", "model": "ada's", "charge": charge, "x-request-id": id.map { "\($0)" } ?? ""],
                hits: hits)
        }
        return limitsRequest([descriptor("input_tokens", tokens.input), descriptor("output_tokens", tokens.output)])
    }
}
