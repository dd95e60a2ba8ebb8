import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("The windows of failure mode local")
struct LocalWindowsTests {
    private let windows = LocalWindows()
    private let limit = Limit(name: "requests", quota: 3, windowMilliseconds: 1_000)

    private func user(_ number: Int) -> SubjectID { SubjectID(high: 7, low: UInt64(bitPattern: Int64(number))) }

    @discardableResult
    private func check(_ number: Int, cost: Int = 1, at milliseconds: Int = 0) -> Decision {
        windows.check(user(number), cost: cost, limit: limit, clockMicroseconds: milliseconds * 1_000)
    }

    @Test("decide each user apart, by the same algorithm")
    func decide() {
        for number in 1...2 {
            #expect((0..<3).map { _ in check(number).remaining } == [2, 1, 0])
            #expect(check(number).verdict == .denied(retryAfterMilliseconds: 1_000))
        }
        #expect(check(1, at: 1_000).isAllowed)
    }

    @Test("forget a user at a reset, and only that one")
    func reset() {
        for number in 1...2 { check(number, cost: 3) }
        windows.reset(.user(user(1)), limitIDs: [LimitDefinition.id(of: .spend, in: .requests)])
        #expect(!check(1, cost: 3).isAllowed)
        windows.reset(
            .user(user(1)), limitIDs: [LimitDefinition.id(of: .spend, in: .requests), LimitDefinition.requestsID])
        #expect(check(1, cost: 3).isAllowed)
        #expect(!check(2, cost: 3).isAllowed)
    }

    @Test("keep nothing for looks, denials of strangers and windows that have emptied")
    func keepNothing() {
        check(1, cost: 0)
        check(2, cost: 4)
        #expect(windows.count == 0)
        check(3)
        #expect(windows.count == 1)
        check(3, cost: 0, at: 1_000)
        #expect(windows.count == 0)
    }

    @Test("keep a bounded number of users, those who asked last among them")
    func bounded() {
        let half = LocalWindows.maximumUsers / 2
        for number in 0..<3 * LocalWindows.maximumUsers {
            check(number, cost: 3)
            if number % 1_024 == 0 { #expect(windows.count <= LocalWindows.maximumUsers) }
        }
        #expect(windows.count <= LocalWindows.maximumUsers)
        let last = 3 * LocalWindows.maximumUsers - 1
        for number in stride(from: last, to: last - half, by: -997) { #expect(!check(number).isAllowed) }
        // Whoever has not asked for longest is forgotten.
        #expect(check(0).isAllowed)
    }

    @Test("take no more memory once both generations have been full, and give none back to take it again")
    func room() {
        for number in 0..<LocalWindows.maximumUsers { check(number, cost: 3) }
        let room = windows.capacity
        #expect(room >= LocalWindows.maximumUsers)
        for number in LocalWindows.maximumUsers..<2 * LocalWindows.maximumUsers {
            check(number, cost: 3)
            if number % 1_024 == 0 { #expect(windows.capacity == room) }
        }
    }

    @Test("of a lifetime count all since it began, until it has been idle for so long, and share it by replicas")
    func lifetime() throws {
        let idle = 10_000
        let limit = LimitDefinition(
            name: try #require(LimitName("session")), scope: .user, values: [.label("session")], unit: .tokens(.total),
            quota: 20,
            window: .lifetime(idleMilliseconds: idle), failureMode: .local)
        let limits = LimitsInForce(rules: QuotaRules(limits: try LimitSet([limit]), policy: .min))
        func check(_ session: String, _ tokens: Int, at milliseconds: Int) throws -> Decision.Verdict {
            let request = CallRequest(
                user: user(1), attributes: CallAttributes(labels: ["session": session]),
                tokens: TokenUsage(input: tokens))
            let call = try planned(request, under: limits, atUnixMilliseconds: milliseconds)
            return windows.check(call, replicas: 2, clockMicroseconds: milliseconds * 1_000)
        }
        for at in 0..<4 { #expect(try check("a", 2, at: at * 6_000) == .allowed) }
        // 8 of 10 are used, though three quarters of them longer ago than it may be idle.
        #expect(try check("a", 3, at: 19_000) == .denied(retryAfterMilliseconds: 9_000))
        #expect(try check("b", 10, at: 19_000) == .allowed)
        // A denial is no use, and where the clock steps back nothing is free.
        #expect(try check("a", 3, at: 17_000) == .denied(retryAfterMilliseconds: 11_000))
        #expect(try check("a", 3, at: 27_999) == .denied(retryAfterMilliseconds: 1))
        #expect(try check("a", 10, at: 28_000) == .allowed)
        #expect(try check("b", 11, at: 40_000) == .deniedForGood)
    }

    @Test("do not forget a user who keeps asking, however many others come")
    func generations() {
        check(-1, cost: 3)
        for number in 0..<3 * LocalWindows.maximumUsers {
            check(number)
            if number % 10_000 == 0 { #expect(!check(-1).isAllowed) }
        }
    }
}
