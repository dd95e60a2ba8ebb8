import NIOCore
import Testing

@testable import HTTPServer

@Suite("Where a request of the slow path ends")
struct SlowPathFramingTests {
    private static let head = "POST /x HTTP/1.1\r\nHost: a\r\n\r\n"

    /// What is passed on of `text`, after which the decoder has made of it what `decoder` says.
    private func pass(
        _ text: String, through framing: inout SlowPathFraming, _ decoder: (inout SlowPathFraming) -> Void = { _ in }
    ) -> Int {
        let length = framing.lengthToPassOn(of: ByteBuffer(string: text).readableBytesView)
        decoder(&framing)
        framing.passedOn()
        return length
    }

    @Test("is behind the head where there is no body, and nothing of the next request is passed on")
    func noBody() {
        var framing = SlowPathFraming()
        #expect(!framing.isUnderWay)
        framing.begin()
        #expect(framing.isUnderWay)
        let length = pass(Self.head + "GET /next", through: &framing) {
            $0.headEnded(bodyLength: 0)
            $0.requestEnded()
        }
        #expect(length == Self.head.utf8.count && !framing.isUnderWay)
    }

    @Test("is found behind a head that comes in two parts, wherever it is cut")
    func cutHead() {
        for count in 1..<Self.head.utf8.count {
            var framing = SlowPathFraming()
            framing.begin()
            let first = pass(String(Self.head.prefix(utf8: count)), through: &framing)
            #expect(first == count && framing.isUnderWay)
            let second = pass(Self.head.dropFirst(utf8: count) + "GET", through: &framing) {
                $0.headEnded(bodyLength: 0)
                $0.requestEnded()
            }
            #expect(first + second == Self.head.utf8.count && !framing.isUnderWay, "cut at \(count)")
        }
    }

    @Test("is behind as many bytes of body as the head says, in however many parts they come")
    func body() {
        var framing = SlowPathFraming()
        framing.begin()
        #expect(pass(Self.head + "12345", through: &framing) { $0.headEnded(bodyLength: 5) } == Self.head.utf8.count)
        #expect(pass("12", through: &framing) == 2 && framing.isUnderWay)
        #expect(pass("345GET /next", through: &framing) { $0.requestEnded() } == 3 && !framing.isUnderWay)
    }

    @Test("is where the decoder says in a chunked body, and only with the last of the bytes that were passed on")
    func chunked() {
        var framing = SlowPathFraming()
        framing.begin()
        _ = pass(Self.head, through: &framing) { $0.headEnded(bodyLength: nil) }
        #expect(pass("3\r\nabc\r\n", through: &framing) == 8 && framing.isUnderWay)
        #expect(pass("0\r\n\r\n", through: &framing) { $0.requestEnded() } == 5 && !framing.isUnderWay)

        // Bytes of another request are in the decoder already, and so all else has to go there.
        framing.begin()
        _ = pass(Self.head, through: &framing) { $0.headEnded(bodyLength: nil) }
        #expect(pass("0\r\n\r\nGET /n", through: &framing) { $0.requestEnded() } == 11 && framing.isUnderWay)
    }

    @Test("begins anew with the next request")
    func next() {
        var framing = SlowPathFraming()
        for bodyLength in [0, 2, 0] {
            framing.begin()
            let length = pass(Self.head, through: &framing) {
                $0.headEnded(bodyLength: bodyLength)
                if bodyLength == 0 { $0.requestEnded() }
            }
            #expect(length == Self.head.utf8.count && framing.isUnderWay == (bodyLength > 0))
            if bodyLength > 0 { #expect(pass("12", through: &framing) { $0.requestEnded() } == 2) }
            #expect(!framing.isUnderWay)
        }
    }
}

extension String {
    fileprivate func prefix(utf8 count: Int) -> String { String(decoding: Array(utf8.prefix(count)), as: UTF8.self) }

    fileprivate func dropFirst(utf8 count: Int) -> String {
        String(decoding: Array(utf8.dropFirst(count)), as: UTF8.self)
    }
}
