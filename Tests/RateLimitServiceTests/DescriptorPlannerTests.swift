import NIOCore
import RateLimitCore
import RedisClient
import Testing

@testable import RateLimitService

@Suite("The plan of a request about descriptors")
struct DescriptorPlannerTests {
    private let tenant = ConfiguredLimit("tenant", 10)
    private let global = ConfiguredLimit("global", 100, per: .minute)

    private func plan(_ asked: DescriptorRequest, _ limits: ConfiguredLimit?...) -> PlannedDescriptors {
        var planner = DescriptorPlanner()
        return planner.plan(asked, limits.map { $0?.match ?? .none })
    }

    /// What a request asks of Redis with everything in it, and what it reports.
    private func written(_ call: PlannedDescriptors) -> [UInt8] {
        var batch = DecisionBatch()
        guard call.plan != nil, call.layOut(in: &batch, SubjectKeys(prefix: "x")) else { return [] }
        var buffer = ByteBuffer()
        batch.write(digest: "digest", withSource: false, to: &buffer)
        return Array(buffer.readableBytesView)
    }

    @Test("is a check of one sliding window for a descriptor that asks, with the request's hits")
    func asks() throws {
        let call = plan(request(descriptor(), hits: 3), tenant)
        #expect(call.terms.map(\.asked) == [3] && call.terms.map(\.reported) == [0])
        #expect(call.asks && call.isEnforced && call.plan?.report == nil)
        let limit = LimitTerm(
            id: LimitDefinition.requestsID, kind: .sliding(windowMilliseconds: 3_600_000), quota: 10, cost: 3)
        let key = Array("x:descriptor:edge:tenant".utf8)
        let expected = DecisionCall(
            .check, rememberMilliseconds: DecisionCall.memories.lowerBound,
            subjects: [SubjectTerms(key: key, terms: [limit])])
        #expect(call.laidOut(keyPrefix: "x").subjects == expected.subjects)
        #expect(call.laidOut(keyPrefix: "x").operation == .check)
        // A check of a user under such a limit asks the very same, under another key; but here nobody holds leases.
        let check = DecisionPlan(
            checksUnder: Limit(name: "requests", quota: 10, windowMilliseconds: 3_600_000), rememberMilliseconds: 0)
        #expect(try #require(call.plan?.check).isEqual(to: check))
    }

    @Test("keeps the request where a limit that it met has metadata, and not else")
    func described() {
        let asked = request(descriptor(), descriptor(), hits: 3)
        #expect(plan(asked, tenant, global).described == nil)
        var definition = global.limit.definition
        definition.metadata = DescriptorMetadata()
        let told = DescriptorMatch(DescriptorLimit(definition), in: global.key)
        var planner = DescriptorPlanner()
        #expect(planner.plan(asked, [tenant.match, told]).described?.request == asked)
    }

    @Test("takes 1 for hits of 0, and a descriptor's own hits for what they are")
    func uses() {
        let asked = request(
            descriptor(), descriptor(hits: 0), descriptor(hits: 7), descriptor(hits: 7, isRefund: true),
            descriptor(isRefund: true), descriptor(hits: .max), descriptor(hits: .max, isRefund: true), hits: 0)
        let uses = asked.descriptors.map { DescriptorUse($0, of: asked) }
        let most = Descriptor.mostHits
        #expect(uses == [.ask(1), .peek, .report(7), .refund(7), .refund(1), .report(most), .refund(most)])
        #expect(DescriptorUse(descriptor(isRefund: true), of: request(hits: 4)) == .refund(4))
        #expect(DescriptorUse(descriptor(), of: request(descriptor(), hits: .max)) == .ask(Descriptor.mostHits))
        #expect(uses.map(\.asks) == [true, true, false, false, false, false, false])
    }

    @Test("asks for room and charges nothing where a descriptor peeks")
    func peeks() {
        let call = plan(request(descriptor(hits: 0)), tenant)
        let term = call.laidOut(keyPrefix: "x").subjects[0].terms[0]
        #expect(term.cost == 0 && term.needsRoom && !term.isShadow)
        #expect(call.asks && call.isEnforced)
    }

    @Test("charges a report without asking")
    func reports() {
        let report = plan(request(descriptor(hits: 7)), tenant)
        #expect(report.plan?.check == nil && report.laidOut(keyPrefix: "x").operation == .usage)
        #expect(report.laidOut(keyPrefix: "x").subjects[0].terms[0].cost == 7)
        #expect(!report.asks && !report.isEnforced)
    }

    @Test("asks first and charges what is reported after, where a request does both")
    func mixed() throws {
        let call = plan(request(descriptor(), descriptor(hits: 7), hits: 2), tenant, global)
        let checked = call.laidOut(keyPrefix: "x")
        #expect(checked.operation == .check)
        #expect(checked.subjects.map { $0.terms[0].cost } == [2, 0])
        let states = [LimitState(used: 2, resetAfterMilliseconds: 5), LimitState(used: 9, resetAfterMilliseconds: 5)]
        #expect(call.goesOn(CallAnswer(verdict: .done, states: states), whereDenied: false))
        let reported = call.laidOut(keyPrefix: "x")
        #expect(reported.operation == .usage && reported.subjects.map { $0.terms[0].cost } == [7])
        #expect(reported.subjects.map(\.key) == [Array("x:descriptor:edge:global".utf8)])
        let after = [LimitState(used: 16, resetAfterMilliseconds: 60_000, isCharged: true)]
        let outcome = call.outcome(CallAnswer(verdict: .done, states: after))
        #expect(outcome.verdict == .allowed && outcome.standings.map(\.remaining) == [8, 84])
        #expect(outcome.standings.map(\.isOver) == [false, false])
    }

    @Test("charges no report where what is asked is denied, unless everything is a shadow")
    func deniedReport() {
        let states = [
            LimitState(used: 10, resetAfterMilliseconds: 50, isDenied: true),
            LimitState(used: 95, resetAfterMilliseconds: 60),
        ]
        let answer = CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: 40), states: states, leastWaitMilliseconds: 40)
        for isShadow in [false, true] {
            let call = plan(request(descriptor(), descriptor(hits: 7)), tenant, global)
            #expect(call.goesOn(answer, whereDenied: isShadow) == isShadow)
            guard !isShadow else { continue }
            let outcome = call.outcome(answer)
            #expect(outcome.verdict == .denied(retryAfterMilliseconds: 40))
            // 7 more would not have fit into the other window either.
            #expect(outcome.standings.map(\.isOver) == [true, true])
            #expect(outcome.standings.map(\.remaining) == [0, 5])
            #expect(outcome.standings.map(\.resetAfterMilliseconds) == [40, 60])
        }
    }

    @Test("adds up what descriptors want of one window, whose key stands once")
    func duplicates() {
        let asks = plan(request(descriptor(), descriptor(), hits: 4), tenant, tenant)
        #expect(asks.terms.map(\.asked) == [8] && asks.parts.map(\.term) == [0, 0])
        // Something is left, only not enough for both.
        let denied = CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: 9),
            states: [LimitState(used: 5, resetAfterMilliseconds: 20, isDenied: true)], leastWaitMilliseconds: 9)
        #expect(asks.outcome(denied).standings.map(\.isOver) == [true, true])
        let peek = plan(request(descriptor(hits: 0), descriptor(), hits: 6), tenant, tenant)
        #expect(peek.terms.map(\.asked) == [6] && peek.terms.map(\.kind.question) == [.hits])
        #expect(peek.outcome(denied).standings.map(\.isOver) == [false, true])
        let reports = plan(
            request(descriptor(hits: 2), descriptor(), descriptor(hits: 3), descriptor(hits: 0)), tenant, tenant,
            tenant,
            tenant)
        #expect(reports.terms.map(\.asked) == [1] && reports.terms.map(\.reported) == [5])
        #expect(reports.terms.map(\.kind.question) == [.hits] && reports.isEnforced)
        let most = plan(
            request(descriptor(hits: Descriptor.mostHits), descriptor(hits: Descriptor.mostHits)), tenant, tenant)
        #expect(most.terms.map(\.reported) == [Descriptor.mostHits])
    }

    @Test("has the lower quota where a proxy gives one window two")
    func twoQuotas() {
        let call = plan(
            request(descriptor(), descriptor()), ConfiguredLimit("a", 10, window: "w"),
            ConfiguredLimit("a", 7, window: "w"))
        #expect(call.terms.map(\.kind.quota) == [7])
    }

    @Test("has no term for what meets no limit, or an unlimited one, and asks nothing where nothing else is there")
    func unlimited() {
        let free = ConfiguredLimit("free", nil)
        let nothing = plan(request(descriptor(), descriptor()), nil, free)
        #expect(nothing.plan == nil && nothing.asks && !nothing.isEnforced)
        let call = plan(request(descriptor(), descriptor(), descriptor()), free, nil, tenant)
        #expect(call.parts.map(\.term) == [nil, nil, 0])
        let state = LimitState(used: 1, resetAfterMilliseconds: 3_600_000)
        let standings = call.outcome(CallAnswer(verdict: .done, states: [state])).standings
        #expect(standings.map(\.limit) == [free.limit, nil, tenant.limit])
        #expect(standings.map(\.remaining) == [nil, nil, 9])
        #expect(standings.map(\.resetAfterMilliseconds) == [nil, nil, 3_600_000])
    }

    @Test("makes shadows of shadow_mode and of several in quota_mode, and none of one in quota_mode alone")
    func shadows() {
        let shadow = plan(request(descriptor()), ConfiguredLimit("s", 1, isShadow: true))
        #expect(shadow.terms.map(\.kind.isShadow) == [true] && !shadow.isEnforced)
        let one = plan(
            request(descriptor(), descriptor()), ConfiguredLimit("q", 1, isQuotaMode: true), tenant)
        #expect(one.terms.map(\.kind.isShadow) == [false, false] && !one.deniesTogether)
        let several = plan(
            request(descriptor(), descriptor(), descriptor()), ConfiguredLimit("q", 1, isQuotaMode: true), tenant,
            ConfiguredLimit("r", 1, isQuotaMode: true))
        #expect(several.terms.map(\.kind.isShadow) == [true, false, true] && several.deniesTogether)
        // A report is charged in any case, and a shadow denies nobody: they are none of those that deny together.
        let none = plan(
            request(descriptor(), descriptor(hits: 1), descriptor()), ConfiguredLimit("q", 1, isQuotaMode: true),
            ConfiguredLimit("r", 1, isQuotaMode: true), ConfiguredLimit("t", 1, isShadow: true, isQuotaMode: true))
        #expect(none.terms.map(\.kind.isShadow) == [false, true, true] && !none.deniesTogether)
    }

    @Test("denies by quota_mode only where all such descriptors are over, until the first of them has room")
    func quotaMode() {
        func outcome(_ states: [LimitState]) -> DescriptorOutcome {
            let call = plan(
                request(descriptor(), descriptor()), ConfiguredLimit("q", 1, isQuotaMode: true),
                ConfiguredLimit("r", 1, isQuotaMode: true))
            return call.outcome(CallAnswer(verdict: .done, states: states))
        }
        let over = LimitState(used: 1, resetAfterMilliseconds: 70, isShadowDenied: true)
        let earlier = LimitState(used: 1, resetAfterMilliseconds: 50, isShadowDenied: true)
        let never = LimitState(used: 0, resetAfterMilliseconds: 0, isShadowDenied: true, isForGood: true)
        let fits = LimitState(used: 1, resetAfterMilliseconds: 80)
        #expect(outcome([over, fits]).verdict == .allowed)
        #expect(outcome([over, fits]).standings.map(\.isOver) == [true, false])
        #expect(outcome([over, earlier]).verdict == .denied(retryAfterMilliseconds: 50))
        #expect(outcome([over, never]).verdict == .denied(retryAfterMilliseconds: 70))
        #expect(outcome([never, never]).verdict == .deniedForGood)
    }

    @Test(
        "names each window once, as a key of its own",
        arguments: [descriptor(), descriptor(hits: 0), descriptor(hits: 5)])
    func keys(second: Descriptor) {
        let (one, other) = ("$24\r\nx:descriptor:edge:tenant\r\n", "$24\r\nx:descriptor:edge:global\r\n")
        let two = String(decoding: written(plan(request(descriptor(), second), tenant, global)), as: UTF8.self)
        #expect(two.hasPrefix("*8\r\n$7\r\nEVALSHA\r\n$6\r\ndigest\r\n$1\r\n2\r\n\(one)\(other)$1\r\n"))
        let same = String(decoding: written(plan(request(descriptor(), second), tenant, tenant)), as: UTF8.self)
        #expect(same.hasPrefix("*7\r\n$7\r\nEVALSHA\r\n$6\r\ndigest\r\n$1\r\n1\r\n\(one)$1\r\n"))
    }

    @Test("is made once for all requests that differ in windows and hits alone, and forgotten beyond a bound")
    func remembered() throws {
        var planner = DescriptorPlanner()
        func plan(_ asked: DescriptorRequest, _ limits: ConfiguredLimit...) throws -> DescriptorPlan {
            try #require(planner.plan(asked, limits.map(\.match)).plan)
        }
        let first = try plan(request(descriptor(), hits: 3), ConfiguredLimit("a", 10))
        #expect(try plan(request(descriptor(), hits: 4), ConfiguredLimit("b", 10)) === first)
        #expect(try plan(request(descriptor(hits: 0)), ConfiguredLimit("a", 10)) !== first)
        #expect(try plan(request(descriptor()), ConfiguredLimit("a", 11)) !== first)
        #expect(try plan(request(descriptor()), ConfiguredLimit("a", 10, per: .day)) !== first)
        #expect(try plan(request(descriptor()), ConfiguredLimit("a", 10, isShadow: true)) !== first)
        #expect(planner.planCount == 5)
        for quota in 0..<5_000 {
            let made = try plan(request(descriptor(), descriptor()), tenant, ConfiguredLimit("q", quota))
            #expect(made.kinds.map(\.quota) == [10, quota])
            #expect(planner.planCount <= RememberedDescriptorPlans.places)
        }
        #expect(planner.planCount > RememberedDescriptorPlans.places / 2)
    }
}
