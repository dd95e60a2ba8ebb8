import NIOCore
import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("Data that Redis has lost")
struct DataLossTests {
    private var detector = DataLossDetector()

    @Test("are found by a heartbeat older than the latest one, once, with how much is lost")
    mutating func older() {
        #expect(detector.observe(before: 0, now: 1_000, seen: 0) == nil)
        #expect(detector.observe(before: 1_000, now: 2_000, seen: 1_000) == nil)
        // Another daemon's heartbeat.
        #expect(detector.observe(before: 2_500, now: 3_000, seen: 2_000) == nil)
        #expect(detector.observe(before: 1_200, now: 4_000, seen: 3_000) == .wentBack(milliseconds: 1_800))
        #expect(detector.observe(before: 4_000, now: 5_000, seen: 4_000) == nil)
        #expect(detector.observe(before: 0, now: 6_000, seen: 5_000) == .emptied)
        #expect(detector.observe(before: 6_000, now: 7_000, seen: 6_000) == nil)
    }

    @Test("are not found by a daemon that has just started, whatever heartbeat it meets")
    mutating func firstBeat() {
        #expect(detector.observe(before: 5_000, now: 5_500, seen: 0) == nil)
        #expect(detector.latestBeat == 5_500)
    }

    @Test("are not found where two connections' replies come in another order than their heartbeats")
    mutating func crossed() {
        #expect(detector.observe(before: 1_000, now: 1_001, seen: 0) == nil)
        #expect(detector.observe(before: 0, now: 1_000, seen: 0) == nil)
        #expect(detector.latestBeat == 1_001)
    }

    @Test("what daemons tell each other of resets reads as it was written, and anything else is nothing")
    func messages() throws {
        let user = someUser()
        let other = try #require(SubjectID("global *\n"))
        let limit = LimitName.requests
        let messages: [(LimitReset, String, isOfUser: Bool)] = [
            (LimitReset(.user(user)), "\(user)", true),
            (LimitReset(.user(user), limit: limit), "denials \(user)", true),
            (LimitReset(.group(user)), "group:\(user)", false), (LimitReset(.global), "global", false),
            (LimitReset(.group(user), limit: limit), "denials group:\(user)", false),
            (LimitReset(.global, limit: limit), "denials global", false),
            (LimitReset(.user(other)), "user:global%20%2A%0A", true),
            (LimitReset(.user(other), limit: limit), "denials user:global%20%2A%0A", true),
        ]
        for (reset, text, isOfUser) in messages {
            let message = Invalidation(reset)
            #expect(message.text == text && Invalidation(text) == message)
            // Where a window is shared the denials of all who share it end, and nobody knows here who they are.
            #expect(message.user.map { .user($0) } == (isOfUser ? reset.owner : nil))
        }
        #expect(Invalidation("*") == .everyone && Invalidation.everyone.text == "*")
        #expect(Invalidation.everyone.user == nil)
        for text in [
            "", "group:", "group:%41", "denials", "denials ~", "denials x", "user:", "user:\(user)", "globals",
            "budget user \(user) 1 2", "\(user) ",
        ] {
            #expect(Invalidation(text) == nil)
        }
    }

    @Test("a reset is remembered for a window, once for each user, and only so many are")
    func resets() {
        var resets = RecentResets()
        let window = TimeAmount.seconds(10)
        func instant(_ seconds: UInt64) -> NIODeadline { .uptimeNanoseconds(seconds * 1_000_000_000) }
        func user(_ number: Int) -> WindowOwner { .user(SubjectID(high: 1, low: UInt64(number))) }
        resets.append(user(1), at: instant(100), window: window)
        resets.append(user(2), at: instant(102), window: window)
        resets.append(user(1), at: instant(105), window: window)
        #expect(resets.owners(at: instant(106), window: window) == [user(2), user(1)])
        #expect(resets.owners(at: instant(112), window: window) == [user(1)])
        #expect(resets.owners(at: instant(115), window: window) == [])
        for number in 0..<RecentResets.capacity + 5 { resets.append(user(number), at: instant(120), window: window) }
        let owners = resets.owners(at: instant(121), window: window)
        #expect(owners.count == RecentResets.capacity && owners.first == user(5))
    }
}
