import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("How long leases have lasted")
struct LeaseDurationsTests {
    private let user = someUser()
    private let other = someUser()

    @Test("is the user's own in the user's windows from a few leases on, before that and in shared windows anybody's")
    func sources() {
        var durations = LeaseDurations()
        let (calls, shared): (UInt32, UInt32) = (7, 8)
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == nil)
        for _ in 0..<10 { durations.note(other, limit: calls, milliseconds: 9_000) }
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == 9_000)
        #expect(durations.expectedMilliseconds(of: shared, .global, user) == nil)
        for _ in 1..<RecentAmounts.fewest { durations.note(user, limit: calls, milliseconds: 700) }
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == 9_000)
        durations.note(user, limit: calls, milliseconds: 700)
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == 700)
        #expect(durations.expectedMilliseconds(of: calls, .user, other) == 9_000)
        for subject in [PlanSubject.global, .group(0)] {
            #expect(durations.expectedMilliseconds(of: calls, subject, user) == 9_000)
        }
    }

    @Test("is bounded: what was used longest ago is forgotten")
    func bounded() {
        var durations = LeaseDurations(userCapacity: 3, limitCapacity: 2)
        for _ in 0..<50 { durations.note(someUser(), limit: 7, milliseconds: 5) }
        for number in 0..<50 { durations.note(user, limit: UInt32(number), milliseconds: number) }
        #expect(durations.counts == (3, 2))
    }
}
