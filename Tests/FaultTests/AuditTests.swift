import TestSupport
import Testing

@Suite("The audit of the fault matrix")
struct AuditTests {
    private func exchange(_ user: String, _ at: Double, _ status: Int, _ reason: String? = nil) -> Load.Exchange {
        Load.Exchange(
            user: user, sentAt: at, answeredAt: at + 1, status: status, degradedReason: reason, processorWait: 0
        )
    }

    @Test("finds nothing where two are admitted of two, and the others denied")
    func clean() {
        let checks = [exchange("a", 0, 200), exchange("b", 0, 200), exchange("a", 2, 200), exchange("a", 4, 429)]
        #expect(Audit(checks, limit: 2) == Audit([], limit: 2))
    }

    @Test("sees an admission too many, also on both sides of an outage, unless Redis forgot in it")
    func overLimit() {
        let checks = [
            exchange("a", 0, 200), exchange("a", 2, 200), exchange("a", 10, 200, "redis_timeout"),
            exchange("a", 20, 200), exchange("a", 22, 200),
        ]
        #expect(Audit(checks, limit: 2).overLimit == 2)
        #expect(Audit(checks, limit: 2, forgets: 5...15).overLimit == 0)
        #expect(Audit(checks + [exchange("a", 24, 200)], limit: 2, forgets: 5...15).overLimit == 1)
    }

    @Test("sees a denial of a user who had not used the limit, and believes that an unanswered check was charged")
    func deniedWrongly() {
        #expect(Audit([exchange("a", 0, 200), exchange("a", 2, 429)], limit: 2).deniedWrongly == 1)
        #expect(
            Audit([exchange("a", 0, 200), exchange("a", 2, 429), exchange("a", 4, 200)], limit: 2).deniedWrongly == 1)
        #expect(
            Audit([exchange("a", 0, 200), exchange("a", 1, 0), exchange("a", 2, 429)], limit: 2).deniedWrongly == 0)
        #expect(
            Audit([exchange("a", 0, 200), exchange("a", 1, 200, "redis_timeout"), exchange("a", 9, 429)], limit: 2)
                .deniedWrongly == 0
        )
    }
}
