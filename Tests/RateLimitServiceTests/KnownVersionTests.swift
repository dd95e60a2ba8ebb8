import NIOCore
import Testing

@testable import RateLimitService

@Suite("The version of what the daemons tell each other")
struct KnownVersionTests {
    private var known = KnownVersion()

    private func at(_ milliseconds: Int64) -> NIODeadline {
        .uptimeNanoseconds(1_000_000_000) + .milliseconds(milliseconds)
    }

    @Test("is believed for 750 ms after it was asked for, however late the answers come and in whatever order")
    mutating func belief() {
        #expect(known.believedUntil < at(0))
        _ = known.polled("1", sentAt: at(500))
        #expect(known.believedUntil == at(1_250))
        _ = known.polled("1", sentAt: at(250))
        #expect(known.believedUntil == at(1_250))
    }

    @Test("ends what is remembered where it is another than the one known, or none is known yet")
    mutating func polled() {
        let answers = ["-", "-", "7", "7", "5", "-", "-"]
        let holds = answers.map { known.polled($0, sentAt: at(0)) }
        #expect(holds == [false, true, false, true, false, false, true])
    }

    @Test("ends what is remembered where a message was missed, and follows the messages where none was")
    mutating func heard() {
        _ = known.polled("1", sentAt: at(0))
        let isNext = known.heard(from: "1", to: "2")
        let isKnown = known.polled("2", sentAt: at(1))
        let isBehindAGap = known.heard(from: "3", to: "4")
        let isNextAgain = known.heard(from: "4", to: "5")
        #expect(isNext && isKnown && !isBehindAGap && isNextAgain)
        // A message alone is no proof that none will be missed.
        #expect(known.believedUntil == at(751))
    }

    @Test("ends what is remembered at the first message, where none is known yet")
    mutating func first() {
        let isNext = known.heard(from: "1", to: "2")
        #expect(!isNext)
        #expect(known.believedUntil < at(0))
    }
}
