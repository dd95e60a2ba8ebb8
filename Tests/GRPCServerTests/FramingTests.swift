import Testing

@testable import GRPCServer

@Suite("gRPC's framing")
struct FramingTests {
    @Test(
        "reads how long a client waits, by 8 digits and a unit",
        arguments: [
            ("20m", 20_000_000), ("1H", 3_600_000_000_000), ("2M", 120_000_000_000), ("3S", 3_000_000_000),
            ("4u", 4_000),
            ("5n", 5), ("0m", 0), ("99999999H", .max), ("99999999S", 99_999_999_000_000_000), ("", nil), ("m", nil),
            ("1", nil),
            ("100000000n", nil), ("-1m", nil), ("1h", nil), ("1 m", nil), ("1.5S", nil),
        ] as [(String, UInt64?)])
    func timeout(_ text: String, _ nanoseconds: UInt64?) {
        let bytes = Array(text.utf8)
        let read = bytes.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.flatMap { CallTimeout.nanoseconds($0, length: buffer.count) }
        }
        // The longest is longer than a UInt64 of nanoseconds can say.
        #expect(read == nanoseconds)
    }

    @Test(
        "writes an error's text as printable ASCII without blanks at its ends, cut off at its bound",
        arguments: [
            ("cannot do: 5 of 7", "cannot do: 5 of 7"), ("100 %", "100 %25"), ("\u{e9}\n\u{7f}", "%C3%A9%0A%7F"),
            (" a ", "a"),
            ("", ""),
        ])
    func message(_ text: String, _ encoded: String) {
        #expect(StatusMessage.encoded(text) == Array(encoded.utf8))
        #expect(StatusMessage.encoded(String(repeating: "x", count: 10_000)).count == StatusMessage.maximumBytes)
    }

    @Test("finds a path by its bytes, and none that is only nearly the same")
    func paths() {
        let texts = ["/a/b", "/a/bc", "/test.Echo/Now"]
        let paths = MethodPaths(texts)
        defer { paths.end() }
        func index(_ text: String) -> Int {
            Array(text.utf8).withUnsafeBufferPointer { buffer in
                buffer.baseAddress.map { paths.index(of: $0, length: buffer.count) } ?? -1
            }
        }
        #expect(texts.map(index) == [0, 1, 2])
        #expect(["/a/c", "/a/", "/a/bcd", "/test.Echo/now", ""].map(index) == [-1, -1, -1, -1, -1])
    }
}

@Suite("An allowance for wrong frames")
struct OffenceAllowanceTests {
    @Test("is 100 at once, and one more for each second after")
    func allowance() {
        let second: UInt64 = 1_000_000_000
        var allowance = OffenceAllowance()
        let start = 5_000 * second
        let isFull = (0..<100).allSatisfy { _ in allowance.take(at: start) }
        #expect(isFull)
        var spent = allowance
        let (atOnce, soon) = (spent.take(at: start), spent.take(at: start + second / 2))
        #expect(!atOnce && !soon)
        let later = allowance.take(at: start + second)
        #expect(later)
        let isFullAgain = (0..<100).allSatisfy { _ in allowance.take(at: start + 1_000 * second) }
        let more = allowance.take(at: start + 1_000 * second)
        #expect(isFullAgain && !more)
    }
}

@Suite("Where frames end")
struct FrameBoundaryTests {
    private func boundary(after parts: [[UInt8]]) -> FrameBoundary {
        var boundary = FrameBoundary()
        for part in parts { part.withUnsafeBytes { boundary.takeIn($0) } }
        return boundary
    }

    @Test("is known in any cuts of the bytes")
    func cuts() {
        let frames: [Frame] = [
            .settings(), .headers(1, EmbeddedClient.call()), .data(1, framed([1, 2])), .data(1, []), .ping(),
        ]
        let bytes = Frame.preface + frames.flatMap(\.bytes)
        var ends = [Frame.preface.count]
        for frame in frames { ends.append((ends.last ?? 0) + frame.bytes.count) }
        for cut in 0...bytes.count {
            let boundary = boundary(after: [Array(bytes[..<cut])])
            #expect(boundary.isInside == !ends.contains(cut))
            #expect(boundary.completed == ends.count { $0 <= cut })
            let whole = self.boundary(after: [Array(bytes[..<cut]), Array(bytes[cut...])])
            #expect(!whole.isInside && whole.completed == frames.count + 1)
        }
    }

    @Test("is that of the last CONTINUATION for a header block")
    func headerBlock() {
        let begun = Frame.headers(1, [(":method", "POST")], endsHeaders: false)
        let more = Frame(kind: .continuation, stream: 1, payload: [0])
        let last = Frame(kind: .continuation, flags: Frame.endHeaders, stream: 1, payload: [])
        let open = boundary(after: [Frame.preface, begun.bytes, more.bytes])
        #expect(open.isInside && open.completed == 1)
        let whole = boundary(after: [Frame.preface, begun.bytes, more.bytes, last.bytes])
        #expect(!whole.isInside && whole.completed == 2)
    }
}

@Suite("The records of calls")
struct CallSlabTests {
    @Test("stay where they are, are used again, and are bounded")
    func records() {
        var slab = CallSlab()
        defer { slab.end() }
        var records: [UnsafeMutablePointer<CallRecord>] = []
        while let record = slab.take() {
            record.pointee.streamID = Int32(records.count + 1)
            record.pointee.reply.append(7)
            records.append(record)
        }
        #expect(records.count >= HTTP2Bounds.callRecords && records.count < HTTP2Bounds.callRecords + 32)
        #expect(Set(records).count == records.count)
        #expect(records.enumerated().allSatisfy { $1.pointee.streamID == Int32($0 + 1) })
        var open = 0
        slab.forEachOpen { _ in open += 1 }
        #expect(open == records.count)
        slab.give(records[5])
        let (again, more) = (slab.take(), slab.take())
        #expect(again == records[5] && more == nil)
        #expect(records[5].pointee.streamID == 0 && records[5].pointee.reply.count == 0)
    }

    @Test("keep bytes that grow, that are taken off the front, and whose room is given back")
    func bytes() {
        var store = ByteStore()
        defer { store.clear(keeping: 0) }
        let source = Array(0..<UInt8.max)
        for _ in 0..<20 {
            source.withUnsafeBufferPointer { $0.baseAddress.map { store.append($0, count: source.count) } }
        }
        #expect(store.count == 20 * 255)
        store.drop(255 * 19 + 5)
        #expect(store.count == 250)
        #expect(store.bytes?[0] == 5 && store.bytes?[249] == 254)
        store.clear()
        #expect(store.count == 0 && store.capacity == 0)
        store.append(1)
        let capacity = store.capacity
        store.clear()
        #expect(store.capacity == capacity)
    }
}
