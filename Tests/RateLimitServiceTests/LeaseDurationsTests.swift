import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("How long leases have lasted")
struct LeaseDurationsTests {
    private let user = someUser()
    private let other = someUser()

    @Test("is the user's own in the user's windows from a few leases on, before that and in shared windows anybody's")
    func sources() throws {
        var durations = LeaseDurations()
        let (calls, shared) = (try #require(LimitName("calls")), try #require(LimitName("shared")))
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == nil)
        for _ in 0..<10 { durations.note(other, limit: calls, milliseconds: 9_000) }
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == 9_000)
        #expect(durations.expectedMilliseconds(of: shared, .global, user) == nil)
        for _ in 1..<RecentAmounts.fewest { durations.note(user, limit: calls, milliseconds: 700) }
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == 9_000)
        durations.note(user, limit: calls, milliseconds: 700)
        #expect(durations.expectedMilliseconds(of: calls, .user, user) == 700)
        #expect(durations.expectedMilliseconds(of: calls, .user, other) == 9_000)
        for subject in [CallSubject.global, .group(other)] {
            #expect(durations.expectedMilliseconds(of: calls, subject, user) == 9_000)
        }
    }

    @Test("is bounded: what was used longest ago is forgotten")
    func bounded() throws {
        var durations = LeaseDurations(userCapacity: 3, limitCapacity: 2)
        let name = try #require(LimitName("calls"))
        for _ in 0..<50 { durations.note(someUser(), limit: name, milliseconds: 5) }
        for number in 0..<50 {
            durations.note(user, limit: try #require(LimitName("l\(number)")), milliseconds: number)
        }
        #expect(durations.counts == (3, 2))
    }

    @Test("is read from a lease that says when it was given; one of an older version is a lease all the same")
    func leaseText() throws {
        var random = SystemRandomNumberGenerator()
        for given in [nil, 0, 1_795_824_000_000, 1 << 48 - 1] as [Int?] {
            let lease = Lease(
                givenAtUnixMilliseconds: given, cost: 3, limits: [1, .max], groups: [other], isGlobal: true, model: "m",
                using: &random)
            let read = try #require(Lease(lease.text))
            #expect(read == lease && read.givenAtUnixMilliseconds == given)
            #expect(lease.text.hasPrefix(given == nil ? "01" : "02"))
        }
        let longest = Lease(
            givenAtUnixMilliseconds: 1, cost: 1, limits: (0..<UInt32(LimitSet.maximumCount)).map { $0 },
            groups: (0..<CallAttributes.maximumGroups).map { _ in someUser() }, isGlobal: true,
            model: String(repeating: "m", count: CallAttributes.maximumValueLength), using: &random)
        #expect(longest.text.utf8.count <= Lease.maximumTextLength && Lease(longest.text) == longest)
    }
}
