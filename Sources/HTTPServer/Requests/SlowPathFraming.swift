import NIOCore

/// Where a request that goes through NIOHTTP1 ends in the bytes of its connection, as a value: no channel.
///
/// Only what is known to belong to the request under way is passed on, so that nothing of the next one gets into the
/// decoder: there it would have no timeout, and a check would miss the fast path.
struct SlowPathFraming {
    private enum Stage {
        /// In its head, of which these are the last four bytes so far.
        case head(last: UInt32)
        /// So many bytes of its body are still to come.
        case body(remaining: Int)
        /// In a chunked body or behind one: where that ends only the decoder knows.
        case chunked
    }

    /// What the decoder has made of what was passed on.
    private enum Progress {
        case none
        /// The head is there; the body's length is nil where it comes in chunks.
        case begun(bodyLength: Int?)
        case ended
    }

    private var stage: Stage?
    private var stageAfter = Stage.chunked
    private var progress = Progress.none
    private var isHeadWhole = false
    private var endsInEmptyLine = false

    /// Whether bytes belong to a request under way.
    var isUnderWay: Bool { stage != nil }

    /// The next byte begins a request.
    mutating func begin() {
        stage = .head(last: 0)
        progress = .none
    }

    /// The decoder has seen a head; `bodyLength` is nil where the body comes in chunks.
    mutating func headEnded(bodyLength: Int?) { progress = .begun(bodyLength: bodyLength) }

    /// The decoder has seen the end of the request.
    mutating func requestEnded() { progress = .ended }

    /// How many of `bytes` to pass on now; ``passedOn()`` follows when the decoder has had them.
    mutating func lengthToPassOn(of bytes: ByteBufferView) -> Int {
        var length = bytes.count
        isHeadWhole = false
        switch stage {
        case .head(var last):
            (length, isHeadWhole) = Self.headLength(bytes, &last)
            stageAfter = .head(last: isHeadWhole ? 0 : last)
        case .body(let remaining):
            length = min(remaining, length)
            stageAfter = length == remaining ? .chunked : .body(remaining: remaining - length)
        case .chunked, nil: stageAfter = .chunked
        }
        endsInEmptyLine = bytes.prefix(length).suffix(4).elementsEqual("\r\n\r\n".utf8)
        return length
    }

    /// Takes note of what the decoder made of the bytes.
    mutating func passedOn() {
        switch (progress, stage) {
        case (.ended, .chunked) where !endsInEmptyLine: break
        case (.ended, _): stage = nil
        case (.begun(let bodyLength), .head) where isHeadWhole:
            stage = bodyLength.map { .body(remaining: $0) } ?? .chunked
        default: stage = stageAfter
        }
    }

    /// How far a head reaches into `bytes`, and whether the empty line that ends it is there.
    private static func headLength(_ bytes: ByteBufferView, _ last: inout UInt32) -> (length: Int, isWhole: Bool) {
        for (index, byte) in bytes.enumerated() {
            last = last << 8 | UInt32(byte)
            // Lines may also end in a bare line feed: llhttp refuses or takes them as it sees fit, and is asked.
            if last == 0x0d0a_0d0a { return (index + 1, true) }
        }
        return (bytes.count, false)
    }
}
