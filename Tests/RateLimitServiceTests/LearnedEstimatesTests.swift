import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("Estimates that are learned")
struct LearnedEstimatesTests {
    private let user = someUser()
    private let other = someUser()

    private func tokens(_ output: Int) -> TokenUsage? { TokenUsage(output: output) }

    @Test("are the user's own from a few calls on, before that those of all of the model, else none")
    func sources() {
        var learned = LearnedEstimates()
        #expect(learned.estimate(user, model: "m") == nil)
        for _ in 0..<10 { learned.note(other, model: "m", tokens: tokens(1_000), costMicros: nil) }
        #expect(learned.estimate(user, model: "m") == CallEstimate(.learnedFromModel, tokens: tokens(1_000)))
        #expect(learned.estimate(user, model: "n") == nil)
        #expect(learned.estimate(user, model: nil) == nil)
        for _ in 1..<RecentAmounts.fewest { learned.note(user, model: "m", tokens: tokens(5), costMicros: 3) }
        #expect(learned.estimate(user, model: "m")?.source == .learnedFromModel)
        learned.note(user, model: "m", tokens: tokens(5), costMicros: 3)
        #expect(
            learned.estimate(user, model: "m") == CallEstimate(.learnedFromUser, tokens: tokens(5), costMicros: 3))
        // Calls that say nothing teach nothing; those without a model are one more.
        learned.note(user, model: "n", tokens: nil, costMicros: nil)
        #expect(learned.estimate(user, model: "n") == nil)
        learned.note(user, model: nil, tokens: tokens(8), costMicros: nil)
        #expect(learned.estimate(other, model: nil)?.tokens == tokens(8))
    }

    @Test("are bounded: those used longest ago are forgotten")
    func bounded() {
        var learned = LearnedEstimates(userCapacity: 4, modelCapacity: 2)
        for number in 0..<100 {
            for _ in 0..<4 { learned.note(user, model: "m\(number)", tokens: tokens(number), costMicros: nil) }
            #expect(learned.counts.users <= 4 && learned.counts.models <= 2)
        }
        for number in 96..<100 {
            let expected = CallEstimate(.learnedFromUser, tokens: tokens(number))
            #expect(learned.estimate(user, model: "m\(number)") == expected)
        }
        #expect(learned.estimate(user, model: "m95") == nil)
    }

    @Test("are held by a plan in each unit, at most as much as each limit's quota, and never in place of a slot")
    func plan() throws {
        func limit(_ name: String, _ unit: LimitUnit, _ quota: Int?) throws -> LimitDefinition {
            LimitDefinition(
                name: try #require(LimitName(name)), scope: .user, unit: unit, quota: quota,
                window: unit == .concurrency ? nil : .sliding(milliseconds: 60_000))
        }
        let price = try #require(ModelPrice(input: 1_000_000, output: 3_000_000))
        let limits = LimitsInForce(
            rules: QuotaRules(
                limits: try LimitSet([
                    limit("input", .tokens(.input), 100), limit("output", .tokens(.output), 40),
                    limit("blocked", .tokens(.output), 0), limit("open", .tokens(.total), nil),
                    limit("spend", .spend, 1_000), limit("calls", .requests, 5), limit("slots", .concurrency, 2),
                ]), policy: .min),
            prices: try PriceTable([PriceTable.Entry(.exact("m"), price)], unknownModel: .deny))
        func plan(_ request: CallRequest, _ learned: CallEstimate?) throws -> PlannedCall {
            try planned(request, under: limits, learned: learned)
        }
        func request(_ tokens: TokenUsage? = nil) throws -> CallRequest {
            CallRequest(
                user: user, operation: .reserve(milliseconds: 1_000), attributes: CallAttributes(model: "m"),
                tokens: tokens)
        }
        let usage = TokenUsage(input: 60, output: 70)
        let learned = try plan(try request(), CallEstimate(.learnedFromUser, tokens: usage))
        #expect(learned.toldCosts == [60, 40, 0, 130, 270, 1, 1])
        #expect(
            learned.told.map { learned.cost(of: $0).needsRoom } == [
                false, false, true, false, false, false, false,
            ])
        #expect(learned.estimate == CallEstimate(.learnedFromUser, tokens: usage, costMicros: 270))
        // What the gateway says is held as it says.
        let given = try plan(try request(usage), nil)
        #expect(given.toldCosts == [60, 70, 70, 130, 270, 1, 1])
        #expect(given.estimate == CallEstimate(.given, tokens: usage, costMicros: 270))
        let none = try plan(try request(), nil)
        #expect(none.toldCosts == [0, 0, 0, 0, 0, 1, 1])
        #expect(none.estimate == CallEstimate(.none))
    }
}
