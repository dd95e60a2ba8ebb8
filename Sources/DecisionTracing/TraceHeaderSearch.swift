import Glibc

extension TraceContext {
    /// Finds the header in a request that begins `bytes` and whose lines were found to be ordinary: each ends in CR LF, an
    /// empty one ends them all, and a name is followed by a colon. Nil where there is none, or more than one.
    package init?(requestHead bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return nil }
        var found: TraceContext?
        var count = 0
        var line = 0
        while line < bytes.count, let feed = memchr(base + line, 0x0a, bytes.count - line) {
            let next = UnsafeRawPointer(feed) - base + 1
            let text = UnsafeRawBufferPointer(rebasing: bytes[line..<max(line, next - 2)])
            if text.isEmpty { break }
            line = next
            guard text.count > Self.nameLength, text[Self.nameLength] == 0x3a, Self.isName(text) else { continue }
            count += 1
            var start = Self.nameLength + 1
            while start < text.count, text[start] == 0x20 { start += 1 }
            found = TraceContext(traceparent: UnsafeRawBufferPointer(rebasing: text[start...]))
        }
        guard count == 1, let found else { return nil }
        self = found
    }

    private static let nameLength = header.utf8CodeUnitCount

    /// Whether a line begins with the header's name, in any case.
    private static func isName(_ line: UnsafeRawBufferPointer) -> Bool {
        // All of its characters are letters, of which this bit is the case.
        for index in 0..<nameLength where line[index] | 0x20 != header.utf8Start[index] { return false }
        return true
    }
}
