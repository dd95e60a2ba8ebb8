import Testing

@testable import HTTPServer

@Suite("A lingering close")
struct LingeringCloseTests {
    @Test("is due once a client has sent what nobody looks at")
    func due() {
        var lingering = LingeringClose()
        #expect(!lingering.isDue)
        let isBelow = lingering.drop(1)
        #expect(isBelow && lingering.isDue)
    }

    @Test("drops so many bytes, in however many parts, and not one more", arguments: [1, 3, 65_536, 8 << 20])
    func bound(part: Int) {
        var lingering = LingeringClose()
        let whole = part < 16 ? 1_000 : LingeringClose.maximumBytes / part
        for _ in 0..<whole {
            let isBelow = lingering.drop(part)
            #expect(isBelow)
        }
        let isAtBound = lingering.drop(LingeringClose.maximumBytes - whole * part)
        #expect(isAtBound)
        let isBeyond = !lingering.drop(1)
        #expect(isBeyond)
    }
}
