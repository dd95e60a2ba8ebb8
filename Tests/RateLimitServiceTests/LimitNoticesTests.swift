import Logging
import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("What the log says of limits that change their unit")
struct LimitNoticesTests {
    private let lines = Lines()

    private func limits(_ unit: LimitUnit) throws -> LimitSet {
        try LimitSet([
            LimitDefinition(
                name: try #require(LimitName("daily")), scope: .user, unit: unit, quota: 5,
                window: .sliding(milliseconds: 60_000))
        ])
    }

    private func notices(_ unit: LimitUnit) throws -> LimitNotices {
        LimitNotices(try limits(unit), logger: Logger(label: "test") { [lines] _ in LineHandler(lines: lines) })
    }

    @Test("is told where the unit changes, and nothing where anything else does")
    func reload() throws {
        let notices = try notices(.spend)
        notices.setLimits(try limits(.spend))
        #expect(lines.messages.isEmpty)
        notices.setLimits(try limits(.requests))
        notices.setLimits(try limits(.requests))
        #expect(
            lines.messages == [
                "limit daily counts requests now, not spend: what was counted, held, granted and budgeted begins anew"
            ])
        notices.setLimits(.empty)
        notices.setLimits(try limits(.spend))
        #expect(lines.messages.count == 1)
    }

    @Test("is told once of a budget or grant in another unit, and of one for a limit that is not known")
    func budgets() throws {
        let notices = try notices(.requests)
        for _ in 0..<3 {
            notices.read(["daily": BudgetAmount(40_000_000, unit: .spend)], [:])
            notices.read(["gone": 1], ["daily": Grant(amount: 1, expiresAt: 2, unit: .spend)])
            notices.read(["daily": BudgetAmount(7, unit: .requests)], [:])
            notices.read(["daily": 7], [:])
        }
        #expect(
            lines.messages == [
                "a budget or grant of limit daily is in spend, and the limit counts requests: it counts for nothing",
                "a budget or grant names the limit gone, which is not in force here: it counts for nothing",
            ])
    }

    @Test("is told of a limit that is in other windows, and of budgets that were read before their limit went")
    func otherLimits() throws {
        let notices = try notices(.requests)
        notices.read(["daily": BudgetAmount(7, unit: .requests)], [:])
        #expect(lines.messages.isEmpty)
        let shared = LimitDefinition(
            name: try #require(LimitName("daily")), scope: .global, unit: .requests, quota: 5,
            window: .sliding(milliseconds: 60_000))
        notices.setLimits(try LimitSet([shared]))
        for _ in 0..<2 { notices.setLimits(.empty) }
        #expect(
            lines.messages == [
                "limit daily is per global now, not per user: what was counted and held begins anew",
                "a budget or grant names the limit daily, which is not in force here: it counts for nothing",
            ])
    }

    @Test("is told of a limit that has its windows for other values, and nothing where their order is another")
    func otherValues() throws {
        func limits(_ values: [CallValue], maximumValues: Int? = nil) throws -> LimitSet {
            try LimitSet([
                LimitDefinition(
                    name: try #require(LimitName("daily")), scope: .user, values: values, maximumValues: maximumValues,
                    unit: .requests, quota: 5, window: .sliding(milliseconds: 60_000))
            ])
        }
        let notices = try notices(.requests)
        notices.setLimits(try limits([.model, .label("s\n")]))
        notices.setLimits(try limits([.label("s\n"), .model], maximumValues: 5))
        notices.setLimits(try limits([]))
        #expect(
            lines.messages == [
                "limit daily is per [user, model, label:s%0A] now, not per user: what was counted and held begins anew",
                "limit daily is per user now, not per [user, model, label:s%0A]: what was counted and held begins anew",
            ])
    }

    @Test("is bounded, whatever names there are")
    func bounded() throws {
        let notices = try notices(.requests)
        for number in 0..<3 * LimitNotices.capacity { notices.read(["n\(number)": 1], [:]) }
        #expect(lines.messages.count == LimitNotices.capacity)
    }
}
