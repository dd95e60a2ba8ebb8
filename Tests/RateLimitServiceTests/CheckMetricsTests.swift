import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("Counting checks")
struct CheckMetricsTests {
    private let recorded = RecordingMetrics()
    private let metrics: CheckMetrics

    init() { metrics = CheckMetrics(factory: recorded) }

    private static let allowed = Decision(verdict: .allowed, quota: 20, used: 1, resetAfterMilliseconds: 1)
    private static let denied = Decision(
        verdict: .denied(retryAfterMilliseconds: 1), quota: 20, used: 20, resetAfterMilliseconds: 1
    )

    private static let hourly = Limit.Numbers(quota: 20, windowMilliseconds: 3_600_000)

    private static let rows: [(Outcome, String)] = [
        (Outcome(isAllowed: true, decision: allowed, source: .redis, under: hourly), "decision=allowed,source=redis"),
        (Outcome(isAllowed: false, decision: denied, source: .redis, under: hourly), "decision=denied,source=redis"),
        (Outcome(isAllowed: false, decision: denied, source: .memory, under: hourly), "decision=denied,source=memory"),
        (
            Outcome(isAllowed: true, decision: denied, source: .memory, under: hourly),
            "decision=shadow_denied,source=memory"
        ),
        (
            Outcome(isAllowed: true, decision: allowed, source: .local, degradedReason: .redisTimeout, under: hourly),
            "decision=allowed,source=local"
        ),
        (
            Outcome(isAllowed: true, decision: nil, source: .failureMode, degradedReason: .overloaded, under: hourly),
            "decision=allowed,source=failure_mode"
        ),
        (
            Outcome(isAllowed: false, decision: nil, source: .failureMode, degradedReason: .redisError, under: hourly),
            "decision=refused,source=failure_mode"
        ),
        (Outcome(isAllowed: true, decision: nil, source: .off, under: hourly), "decision=allowed,source=off"),
    ]

    @Test("puts each outcome under its decision and source", arguments: rows)
    func labels(_ outcome: Outcome, _ labels: String) {
        var tally = CheckMetrics.Tally()
        tally.count(outcome)
        tally.report(to: metrics)
        var expected = ["\(CheckMetrics.Name.checks){\(labels)}": 1.0]
        if let reason = outcome.degradedReason {
            expected["\(CheckMetrics.Name.degraded){reason=\(reason.rawValue)}"] = 1
        }
        #expect(recorded.counted == expected)
    }

    @Test("puts each reason under its own name", arguments: FailureReason.allCases)
    func reasons(_ reason: FailureReason) {
        var tally = CheckMetrics.Tally()
        tally.count(
            Outcome(isAllowed: true, decision: nil, source: .failureMode, degradedReason: reason, under: Self.hourly))
        tally.report(to: metrics)
        #expect(recorded.counted["\(CheckMetrics.Name.degraded){reason=\(reason.rawValue)}"] == 1)
    }

    @Test("reports each check once, however often it is asked")
    func once() {
        var tally = CheckMetrics.Tally()
        for _ in 0..<5 { tally.count(Self.rows[0].0) }
        tally.report(to: metrics)
        tally.report(to: metrics)
        tally.count(Self.rows[0].0)
        tally.report(to: metrics)
        #expect(recorded.counted == ["\(CheckMetrics.Name.checks){decision=allowed,source=redis}": 6])
    }

    @Test("every series stands at 0 from the start")
    func series() {
        let checks = recorded.series.filter { $0.hasPrefix(CheckMetrics.Name.checks) }
        #expect(checks.count == DecisionSource.allCases.count * CheckMetrics.Verdict.allCases.count)
        #expect(recorded.series.count { $0.hasPrefix(CheckMetrics.Name.degraded) } == FailureReason.allCases.count)
        #expect(recorded.counted.isEmpty)
    }

    private func definition(_ name: String, isShadow: Bool = false) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: .user, unit: .requests, quota: 10,
            window: .sliding(milliseconds: 60_000), mode: isShadow ? .shadow : .enforce, warnAtPerMille: [500])
    }

    private func standing(_ limit: LimitDefinition, _ state: LimitState) -> LimitStanding {
        LimitStanding(
            limit: limit, subject: .user, quota: Quota(amount: 10, rule: .default), state: state, period: nil)
    }

    @Test("counts what a limit admits above its soft line as over, whatever it warns of")
    func over() throws {
        let soft = LimitDefinition(
            name: try #require(LimitName("soft")), scope: .user, unit: .requests, quota: 10,
            window: .sliding(milliseconds: 60_000), mode: .soft, warnAtPerMille: [500])
        let two = LimitDefinition(
            name: try #require(LimitName("two")), scope: .user, unit: .requests, quota: 10,
            window: .sliding(milliseconds: 60_000), softQuota: 4)
        metrics.limits.setLimits([soft, two])
        var tally = LimitMetrics.Tally()
        tally.setLimits([soft, two])
        for used in [4, 5, 10, 11] {
            var outcome = Outcome(.allowed, source: .redis)
            let state = LimitState(used: used, resetAfterMilliseconds: 1)
            outcome.details = OutcomeDetails(standings: [standing(soft, state), standing(two, state)])
            tally.count(outcome)
        }
        tally.report(to: metrics.limits)
        func counted(_ limit: String, _ decision: String) -> Double? {
            recorded.counted["\(CheckMetrics.Name.limitDecisions){limit=\(limit),decision=\(decision)}"]
        }
        #expect(counted("soft", "allowed") == 1 && counted("soft", "warned") == 2 && counted("soft", "over") == 1)
        #expect(counted("two", "allowed") == 1 && counted("two", "over") == 3)
    }

    @Test("counts what each limit says, in the series of that limit, and nothing of one that is gone")
    func limits() throws {
        let (first, second) = (try definition("first"), try definition("second", isShadow: true))
        metrics.limits.setLimits([first, second])
        var tally = LimitMetrics.Tally()
        tally.setLimits([first, second])
        var outcome = Outcome(.allowed, source: .redis)
        func count(_ states: LimitState...) {
            outcome.details = OutcomeDetails(standings: zip([first, second], states).map { standing($0, $1) })
            tally.count(outcome)
        }
        let free = LimitState(used: 1, resetAfterMilliseconds: 1)
        let half = LimitState(used: 5, resetAfterMilliseconds: 1)
        let full = LimitState(used: 10, resetAfterMilliseconds: 1, isDenied: true)
        let shadow = LimitState(used: 10, resetAfterMilliseconds: 1, isShadowDenied: true)
        count(free, half)
        count(half, shadow)
        count(full, free)
        // The same where everything is a shadow.
        outcome.isShadowDenied = true
        count(full, free)
        tally.report(to: metrics.limits)
        tally.report(to: metrics.limits)
        func series(_ limit: String, _ decision: String) -> String {
            "\(CheckMetrics.Name.limitDecisions){limit=\(limit),decision=\(decision)}"
        }
        let expected: [String: Double] = [
            series("first", "allowed"): 1, series("first", "warned"): 1, series("first", "denied"): 1,
            series("first", "shadow_denied"): 1, series("second", "allowed"): 2, series("second", "warned"): 1,
            series("second", "shadow_denied"): 1,
        ]
        #expect(recorded.counted.filter { $0.key.hasPrefix(CheckMetrics.Name.limitDecisions) } == expected)
        metrics.limits.setLimits([second])
        count(free, free)
        tally.report(to: metrics.limits)
        tally.setLimits([second])
        count(free, free)
        tally.report(to: metrics.limits)
        let after = recorded.counted
        #expect(after[series("first", "allowed")] == 1 && after[series("second", "allowed")] == 4)
    }
}
