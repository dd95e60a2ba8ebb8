import Testing

@testable import RateLimitCore

@Suite("A limit")
struct LimitTests {
    @Test(
        "is shared among replicas, rounded up",
        arguments: [
            (20, 1, 20), (20, 2, 10), (20, 3, 7), (20, 19, 2), (20, 20, 1), (20, 21, 1), (1, 1000, 1), (0, 4, 0),
            (1_000_000_000_000, 3, 333_333_333_334),
        ])
    func share(_ quota: Int, _ replicas: Int, _ expected: Int) {
        let limit = Limit(name: "requests", quota: quota, windowMilliseconds: 60_000)
        let share = limit.share(ofReplicas: replicas)
        #expect(share == Limit(name: "requests", quota: expected, windowMilliseconds: 60_000))
        #expect(share.quota * replicas >= quota)
        #expect((share.quota - 1) * replicas < max(quota, 1))
    }

    @Test("is off at 0 and only there")
    func isOff() {
        #expect(Limit(name: "requests", quota: 0, windowMilliseconds: 1_000).isOff)
        #expect(!Limit(name: "requests", quota: 1, windowMilliseconds: 1_000).isOff)
    }

    @Test("takes the contract's bounds")
    func bounds() {
        #expect(Limit.windows == 1_000...31_536_000_000)
        #expect(Limit.costs == 1...1_000_000)
        #expect(Limit.quotas == 0...1_000_000_000_000)
    }

    @Test("what remains is never below 0, also after the quota was lowered")
    func remaining() {
        #expect(Decision(verdict: .allowed, quota: 20, used: 1, resetAfterMilliseconds: 0).remaining == 19)
        #expect(Decision(verdict: .allowed, quota: 20, used: 20, resetAfterMilliseconds: 0).remaining == 0)
        #expect(Decision(verdict: .allowed, quota: 5, used: 20, resetAfterMilliseconds: 0).remaining == 0)
    }
}
