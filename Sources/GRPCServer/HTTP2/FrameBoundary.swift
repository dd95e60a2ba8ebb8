/// Where in a client's bytes whole frames end, as a value: the library does not say that one is only half there.
///
/// Something has arrived whole when the connection's preface has, a frame has, or all frames of a header block have.
struct FrameBoundary {
    private static let prefaceLength = 24
    private static let headerLength = 9
    private static let headers: UInt8 = 1
    private static let continuation: UInt8 = 9
    private static let endHeaders: UInt8 = 4

    /// What has arrived whole.
    private(set) var completed = 0
    private var payloadLeft = prefaceLength
    private var header: (length: Int, type: UInt8, flags: UInt8) = (0, 0, 0)
    private var headerCount = 0
    private var isInHeaderBlock = false

    /// Whether something has arrived in part.
    var isInside: Bool { payloadLeft > 0 || headerCount > 0 || isInHeaderBlock }

    mutating func takeIn(_ bytes: UnsafeRawBufferPointer) {
        var position = 0
        while position < bytes.count {
            if payloadLeft > 0 {
                let taken = min(payloadLeft, bytes.count - position)
                payloadLeft -= taken
                position += taken
                if payloadLeft == 0 { frameEnded() }
                continue
            }
            switch headerCount {
            case 0...2: header.length = header.length << 8 | Int(bytes[position])
            case 3: header.type = bytes[position]
            case 4: header.flags = bytes[position]
            default: break
            }
            headerCount += 1
            position += 1
            guard headerCount == Self.headerLength else { continue }
            headerCount = 0
            payloadLeft = header.length
            if payloadLeft == 0 { frameEnded() }
        }
    }

    private mutating func frameEnded() {
        if header.type == Self.headers || header.type == Self.continuation {
            isInHeaderBlock = header.flags & Self.endHeaders == 0
        }
        if !isInHeaderBlock { completed += 1 }
        header = (0, 0, 0)
    }
}
