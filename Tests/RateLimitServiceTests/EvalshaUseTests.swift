import NIOCore
import Testing

@testable import RateLimitService

@Suite("The use of EVALSHA")
struct EvalshaUseTests {
    private let refusal = "NOPERM this user has no permissions to run the 'evalsha' command"
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var use = EvalshaUse()

    @Test("rests for a second where it was refused and the whole text was taken, and is then tried again")
    mutating func rests() {
        use.wasRefused(refusal)
        #expect(!use.isResting(at: start), "the text may be refused as well")
        #expect(use.textWasTaken(at: start) == refusal)
        #expect(use.isResting(at: start + .milliseconds(999)))
        #expect(!use.isResting(at: start + .seconds(1)))
    }

    @Test("is said once for each refusal")
    mutating func said() {
        use.wasRefused(refusal)
        #expect(use.textWasTaken(at: start) != nil)
        #expect(use.textWasTaken(at: start) == nil)
    }

    @Test("does not rest where the whole text is refused as well")
    mutating func both() {
        use.wasRefused(refusal)
        use.textWasRefused()
        #expect(use.textWasTaken(at: start) == nil)
        #expect(!use.isResting(at: start))
    }

    @Test("does not rest after a script that was unknown")
    mutating func unknown() {
        #expect(EvalshaUse.isUnknownScript("NOSCRIPT No matching script. Please use EVAL."))
        #expect(use.textWasTaken(at: start) == nil && !use.isResting(at: start))
    }
}
