import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("Counting descriptors")
struct DescriptorMetricsTests {
    private let recorded = RecordingMetrics()
    private let metrics: DescriptorMetrics

    init() { metrics = DescriptorMetrics(factory: recorded) }

    private func count(
        _ asked: DescriptorRequest, _ limits: [ConfiguredLimit], _ answer: CallAnswer, isShadowDenied: Bool = false,
        in tally: inout DescriptorMetrics.Tally
    ) {
        var planner = DescriptorPlanner()
        let call = planner.plan(asked, limits.map(\.match))
        let decided = call.outcome(answer)
        var outcome = Outcome(decided.verdict, source: .redis)
        outcome.isShadowDenied = isShadowDenied
        var details = OutcomeDetails()
        details.descriptors = decided.standings
        outcome.details = details
        tally.count(outcome, call)
    }

    private func key(_ path: String, _ result: String, domain: String = "edge") -> String {
        "\(CheckMetrics.Name.descriptors){domain=\(domain),path=\(path),result=\(result)}"
    }

    private func answer(_ used: Int..., denier: Int? = nil) -> CallAnswer {
        let states = used.enumerated().map { place, used in
            LimitState(used: used, resetAfterMilliseconds: 9, isDenied: place == denier)
        }
        let verdict = denier.map { CallVerdict.denied(term: $0, retryAfterMilliseconds: 5) } ?? .done
        return CallAnswer(verdict: verdict, states: states, leastWaitMilliseconds: denier == nil ? 0 : 5)
    }

    @Test("says of each limit whether it was near, from four fifths of the quota on, or over")
    func results() {
        var tally = DescriptorMetrics.Tally()
        let (a, b) = (ConfiguredLimit("a", 10), ConfiguredLimit("b", 10))
        for used in [7, 8, 10] { count(request(descriptor()), [a], answer(used), in: &tally) }
        count(request(descriptor(), descriptor()), [a, b], answer(10, 3, denier: 0), in: &tally)
        count(request(descriptor()), [a], answer(10, denier: 0), isShadowDenied: true, in: &tally)
        count(request(descriptor()), [ConfiguredLimit("free", nil), a][1...].map { $0 }, answer(1), in: &tally)
        tally.report(to: metrics)
        #expect(
            recorded.counted == [
                key("a", "ok"): 2, key("a", "near"): 2, key("a", "over"): 1, key("a", "shadow_over"): 1,
                key("b", "ok"): 1,
            ])
        // What has been reported is not reported again.
        tally.report(to: metrics)
        #expect(recorded.counted[key("a", "ok")] == 2)
    }

    @Test("counts the quotas that proxies give under one path")
    func overrides() {
        var tally = DescriptorMetrics.Tally()
        for tenant in 0..<10 {
            var asked = request(descriptor())
            asked.descriptors[0].quota = DescriptorQuota(10, per: .hour)
            count(asked, [ConfiguredLimit("tenant_\(tenant)", 10)], answer(1), in: &tally)
        }
        tally.report(to: metrics)
        #expect(recorded.counted == [key("override", "ok"): 10])
    }

    @Test("has a bounded number of series, and counts what is beyond them as one")
    func bounded() {
        var tally = DescriptorMetrics.Tally()
        for part in 0..<3 {
            for number in 0..<DescriptorMetrics.mostPaths {
                count(request(descriptor()), [ConfiguredLimit("p\(part)_\(number)", 10)], answer(1), in: &tally)
            }
            if part == 1 { tally.report(to: metrics) }
        }
        tally.report(to: metrics)
        // One place is that of all others.
        let others = 2 * DescriptorMetrics.mostPaths + 1
        #expect(recorded.counted[key("other", "ok", domain: "other")] == Double(others))
        #expect(recorded.counted.count == DescriptorMetrics.mostPaths)
        #expect(recorded.counted.values.reduce(0, +) == Double(3 * DescriptorMetrics.mostPaths))
    }
}
