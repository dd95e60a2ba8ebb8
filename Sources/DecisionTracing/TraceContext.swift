/// Where a request stands in a trace, as the header `traceparent` tells it: W3C Trace Context.
package struct TraceContext: Hashable, Sendable {
    /// The trace: 16 bytes that are not all zero.
    package var trace: TraceID
    /// The span of the caller's within which the request was sent: 8 bytes that are not all zero.
    package var parent: UInt64
    /// Whether the caller records its span.
    package var isSampled: Bool

    /// The name of the header, in lower case.
    package static let header: StaticString = "traceparent"

    /// `00-` and the fields of version 00: 32 digits, 16 digits and 2 digits with dashes between them.
    private static let length = 55

    /// Makes one of a caller that records its span.
    package init(trace: TraceID, parent: UInt64) {
        self.trace = trace
        self.parent = parent
        isSampled = true
    }

    /// Reads a header's value; nil where it is none that may be used, so that a new trace begins.
    ///
    /// Of a version above 00 the part is read that this one knows, as the standard has it; `ff` is no version.
    package init?(traceparent bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.length, bytes[2] == 0x2d, bytes[35] == 0x2d, bytes[52] == 0x2d,
            let version = hexadecimal(bytes[0..<2]), version != 0xff,
            let high = hexadecimal(bytes[3..<19]), let low = hexadecimal(bytes[19..<35]),
            let parent = hexadecimal(bytes[36..<52]), let flags = hexadecimal(bytes[53..<55]),
            high | low != 0, parent != 0
        else { return nil }
        // A later version may say more, behind another dash.
        guard bytes.count == Self.length || version > 0 && bytes[Self.length] == 0x2d else { return nil }
        trace = TraceID(high: high, low: low)
        self.parent = parent
        isSampled = flags & 1 == 1
    }
}

/// The number of a trace.
package struct TraceID: Hashable, Sendable {
    /// The first 8 bytes as a big-endian number.
    package var high: UInt64
    /// The last 8 bytes; random also where the first are not.
    package var low: UInt64

    /// Makes one; all zero is none.
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// Reads at most 16 digits in lower case; nil where one is none.
private func hexadecimal(_ digits: Slice<UnsafeRawBufferPointer>) -> UInt64? {
    var value: UInt64 = 0
    for byte in digits {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(byte - UInt8(ascii: "a") + 10)
        default: return nil
        }
    }
    return value
}
