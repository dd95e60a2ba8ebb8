import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("The kind of a call")
struct CallKindTests {
    @Test("may be denied where its operation may, and charges nothing that it does not ask for or end")
    func asks() {
        var random = SystemRandomNumberGenerator()
        let lease = Lease(
            of: someUser(), instants: .unknown, cost: 1, attributes: .none, isHeldInGroups: false, isGlobal: false,
            using: &random)
        let operations: [(CallRequest.Operation, asks: Bool)] = [
            (.check, true), (.checkOnce(id: [1]), true), (.reserve(milliseconds: 7), true),
            (.renew(lease, milliseconds: 7), false),
            (.settle(lease), false), (.release(lease), false), (.usage(id: []), false), (.usage(id: [1]), false),
            (.refund(id: []), false), (.refund(id: [1]), false), (.look, false),
        ]
        for (operation, asks) in operations {
            #expect(operation.asks == asks && CallKind(operation).asks == asks, "\(operation)")
        }
    }

    @Test("is denied from memory where it may be denied, but not where Redis may know that it was admitted")
    func memory() {
        for operation in [CallRequest.Operation.check, .reserve(milliseconds: 7)] {
            #expect(CallKind(operation).isDeniedFromMemory)
        }
        let check = CallKind(.checkOnce(id: [1]))
        #expect(!check.isDeniedFromMemory && check.hasID && check.charges && check != CallKind(.check))
        #expect(!CallKind(.look).isDeniedFromMemory && !CallKind(.usage(id: [1])).isDeniedFromMemory)
    }

    @Test("bounds by the quota what is learned of tokens and spend, and nothing that was said")
    func bounded() {
        let reserve = CallRequest.Operation.reserve(milliseconds: 7)
        for unit: LimitUnit in [.tokens(.total), .spend] {
            #expect(CallKind(reserve, isLearned: true).isBoundedByQuota(unit))
            #expect(!CallKind(reserve).isBoundedByQuota(unit))
        }
        for unit: LimitUnit in [.requests, .concurrency] {
            #expect(!CallKind(reserve, isLearned: true).isBoundedByQuota(unit))
        }
    }
}
