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

@Suite("A wait in words")
struct WaitTextTests {
    @Test(
        "names every unit that is not 0",
        arguments: [
            (725, "12 minutes 5 seconds"), (0, "0 seconds"), (-5, "0 seconds"), (1, "1 second"), (2, "2 seconds"),
            (59, "59 seconds"), (60, "1 minute"), (61, "1 minute 1 second"), (120, "2 minutes"),
            (3_599, "59 minutes 59 seconds"),
            (3_600, "1 hour"), (3_601, "1 hour 1 second"), (7_260, "2 hours 1 minute"),
            (86_399, "23 hours 59 minutes 59 seconds"),
            (86_400, "1 day"), (90_061, "1 day 1 hour 1 minute 1 second"), (172_800, "2 days"),
            (31_535_999, "364 days 23 hours 59 minutes 59 seconds"), (31_536_000, "365 days"),
        ])
    func words(_ seconds: Int, _ text: String) {
        #expect(waitText(seconds: seconds) == text)
    }

    @Test("comes to just the wait when its units are added up")
    func sum() {
        let lengths = ["day": 86_400, "hour": 3_600, "minute": 60, "second": 1]
        for seconds in Array(0..<8_000) + stride(from: 8_000, to: 400_000, by: 997) {
            let words = waitText(seconds: seconds).split(separator: " ")
            var sum = 0
            for index in stride(from: 0, to: words.count, by: 2) {
                let unit = words[index + 1].hasSuffix("s") ? words[index + 1].dropLast() : words[index + 1]
                sum += (Int(words[index]) ?? 0) * (lengths[String(unit)] ?? 0)
            }
            #expect(sum == seconds)
        }
    }
}
