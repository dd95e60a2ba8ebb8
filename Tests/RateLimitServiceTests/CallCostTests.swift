import RateLimitCore
import Testing

@testable import RateLimitService

/// What a call needs of each limit, as the planner lays it out.
@Suite("What a call costs of a limit")
struct CallCostTests {
    private let user = someUser()
    private let limits: LimitsInForce

    /// In the order of the file.
    private static let units: [LimitUnit] = [
        .tokens(.total), .tokens(.input), .tokens(.output), .tokens(.cacheRead), .spend,
    ]

    init() throws {
        limits = try Self.limits(unknownModel: .deny)
    }

    private static func limits(
        unknownModel: PriceTable.UnknownModel, quota: Int? = 100, isShadow: Bool = false
    ) throws -> LimitsInForce {
        let definitions = try units.enumerated().map { index, unit in
            LimitDefinition(
                name: try #require(LimitName("l\(index)")), scope: .user, unit: unit, quota: quota,
                window: .sliding(milliseconds: 60_000), mode: isShadow ? .shadow : .enforce)
        }
        let price = try #require(ModelPrice(input: 1_000_000, output: 3_000_000))
        return LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(definitions), policy: .min),
            prices: try PriceTable(
                [.init(.exact("dear"), price), .init(.exact("free"), .free)], unknownModel: unknownModel))
    }

    private func plan(
        _ operation: CallRequest.Operation = .check, model: String? = "dear", tokens: TokenUsage? = nil,
        told: ToldTokens = .all, costMicros: Int? = nil, learned: CallEstimate? = nil,
        under other: LimitsInForce? = nil,
        isShadow: Bool = false
    ) throws -> PlannedCall {
        let request = CallRequest(
            user: user, operation: operation, attributes: CallAttributes(model: model), tokens: tokens, told: told,
            costMicros: costMicros)
        return try planned(request, under: other ?? limits, learned: learned, isShadow: isShadow)
    }

    /// The units of which a plan needs room without knowing how much.
    private func needs(_ call: PlannedCall) -> [LimitUnit] {
        call.told.filter { call.cost(of: $0).needsRoom }.map(\.limit.unit)
    }

    private func costs(_ call: PlannedCall) -> [Int] { call.toldCosts }

    private let reserve = CallRequest.Operation.reserve(milliseconds: 1_000)

    @Test("is unknown where nothing is told: it needs room in every limit, by check and reserve")
    func nothingTold() throws {
        #expect(needs(try plan()) == Self.units)
        #expect(needs(try plan(reserve)) == Self.units)
        #expect(needs(try plan(model: nil)) == Self.units)
    }

    @Test("is certainly no money for a model whose price is 0, for a cost told as 0, and where unknown models are free")
    func noMoney() throws {
        let tokens = Self.units.dropLast()
        for operation in [.check, reserve] {
            #expect(needs(try plan(operation, model: "free")) == Array(tokens))
            #expect(needs(try plan(operation, costMicros: 0)) == Array(tokens))
            #expect(needs(try plan(operation, model: nil, costMicros: 0)) == Array(tokens))
            let free = try Self.limits(unknownModel: .free)
            #expect(needs(try plan(operation, model: "mystery", under: free)) == Array(tokens))
            let alike = try Self.limits(unknownModel: .priceOf("free"))
            #expect(needs(try plan(operation, model: "mystery", under: alike)) == Array(tokens))
            // Who names neither a model nor tokens tells nothing that could be priced.
            #expect(needs(try plan(operation, model: nil, under: free)) == Self.units)
        }
        let used = TokenUsage(input: 7, output: 9)
        let plan = try plan(model: "free", tokens: used)
        #expect(costs(plan) == [16, 7, 9, 0, 0] && needs(plan) == [])
    }

    @Test("is certainly none of the tokens that were told as 0, and unknown of those that were left out")
    func tokens() throws {
        #expect(needs(try plan(tokens: .zero, told: .all)) == [])
        #expect(needs(try plan(reserve, tokens: .zero, told: .all)) == [])
        #expect(
            needs(try plan(tokens: .zero, told: .output)) == [
                .tokens(.total), .tokens(.input), .tokens(.cacheRead), .spend,
            ])
        #expect(needs(try plan(tokens: TokenUsage(input: 7), told: .input)) == [.tokens(.output), .tokens(.cacheRead)])
        #expect(needs(try plan(tokens: TokenUsage(input: 7), told: [.input, .output])) == [.tokens(.cacheRead)])
    }

    @Test("is not certain where it is only learned, but for a price of 0")
    func learned() throws {
        let none = CallEstimate(.learnedFromUser, tokens: .zero, costMicros: 0)
        #expect(needs(try plan(reserve, learned: none)) == Self.units)
        #expect(needs(try plan(reserve, model: "free", learned: none)) == Array(Self.units.dropLast()))
        let some = CallEstimate(.learnedFromUser, tokens: TokenUsage(input: 5, output: 6))
        let free = try plan(reserve, model: "free", learned: some)
        #expect(costs(free) == [11, 5, 6, 0, 0] && needs(free) == [.tokens(.cacheRead)])
        // What such calls were told to cost outweighs the table.
        let told = CallEstimate(.learnedFromUser, tokens: TokenUsage(input: 5, output: 6), costMicros: 8)
        #expect(costs(try plan(reserve, model: "free", learned: told)).last == 8)
    }

    @Test("does not matter to a quota of 0, which blocks all the same")
    func blocked() throws {
        let blocked = try Self.limits(unknownModel: .deny, quota: 0)
        #expect(needs(try plan(model: "free", tokens: .zero, under: blocked)) == Self.units)
    }

    @Test("refuses a check or reserve of a model without a price, unless only shadows would count it")
    func unknownModel() throws {
        for operation in [.check, reserve] {
            #expect(throws: CallRefusal.unknownModel) { try plan(operation, model: "mystery") }
            let passed = try plan(operation, model: "mystery", isShadow: true)
            #expect(passed.isDeniedInShadow && passed.plan.terms.count == Self.units.count)
            let shadows = try Self.limits(unknownModel: .deny, isShadow: true)
            #expect(try !plan(operation, model: "mystery", under: shadows).isDeniedInShadow)
        }
    }

    @Test("is counted as far as it can be where it is told afterwards, and the plan says what cannot")
    func uncounted() throws {
        var random = SystemRandomNumberGenerator()
        let lease = Lease(
            of: user, instants: .unknown, cost: 1, attributes: CallAttributes(model: "mystery"),
            isHeldInGroups: false, isGlobal: false, using: &random)
        let used = TokenUsage(input: 7, output: 9)
        for operation in [.usage(id: []), .settle(lease)] as [CallRequest.Operation] {
            let plan = try plan(operation, model: "mystery", tokens: used)
            #expect(costs(plan) == [16, 7, 9, 0, 0])
            #expect(plan.uncounted == Uncounted(.spend, because: .unknownModel))
            #expect(try self.plan(operation, model: "mystery", tokens: used, costMicros: 5).uncounted == nil)
            // Where there is nothing to count, nothing is left uncounted.
            #expect(try self.plan(operation, model: "mystery", tokens: .zero).uncounted == nil)
            #expect(try self.plan(operation, model: "mystery").uncounted == nil)
        }
        #expect(try plan(.usage(id: []), model: "dear", tokens: used).uncounted == nil)
    }

    @Test("is nothing where no limit applies: a lease is given that holds nothing, and ending it asks nobody")
    func noLimits() throws {
        let none = LimitsInForce.none
        let lease = try #require(try plan(reserve, under: none).lease)
        #expect(lease.holdsNothing && !lease.isHeldInGroups && !lease.isGlobal)
        for operation in [.check, .look, reserve, .usage(id: [1]), .renew(lease, milliseconds: 1), .release(lease)]
            as [CallRequest.Operation]
        {
            #expect(try plan(operation, under: none).plan.decision == nil)
        }
        #expect(try plan(.settle(lease), tokens: TokenUsage(input: 1), under: none).plan.decision == nil)
    }
}
