import Glibc
import RateLimitCore

/// The parts of an admitted check's answer that stay the same from check to check.
///
/// They lie in memory of its own: arrays would be retained and released for each answer, which costs more than copying
/// them does.
final class AdmittedAnswer {
    /// The Unix time of the Date header in the head; 0 where there is no head yet.
    private(set) var second = 0
    /// The head between the value of Content-Length and the number remaining.
    private var head = UnsafeRawBufferPointer(start: nil, count: 0)
    /// The body up to the number remaining.
    private var body = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Whether the head ends in the draft's field, and the older ones follow it.
    private var hasDraft = false
    private var hasX = false

    deinit {
        head.deallocate()
        body.deallocate()
    }

    /// - Parameter bytes: up to the number remaining of `RateLimit`; where that is not sent, up to the end of a line.
    func setHead(_ bytes: [UInt8], quotaHeaders: QuotaHeaders, second: Int) {
        head.deallocate()
        head = Self.copy(bytes)
        hasDraft = quotaHeaders.hasDraft
        hasX = quotaHeaders.hasX
        self.second = second
    }

    /// Another limit: the head is made anew as well.
    func setBody(_ text: String) {
        body.deallocate()
        body = Self.copy(Array(text.utf8))
        second = 0
    }

    private static func copy(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        copy.copyBytes(from: bytes)
        return UnsafeRawBufferPointer(copy)
    }

    /// Writes the whole answer, and says how long it is.
    @inline(__always)
    func write(remaining: ShortDecimal, reset: ShortDecimal, to target: UnsafeMutableRawBufferPointer) -> Int {
        let middle: StaticString = ",\"retry_after\":0,\"reset_after\":"
        let end: StaticString = ",\"degraded\":false}"
        var answer = ByteWriter(target)
        answer.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ")
        answer.write(
            decimal: body.count + remaining.count + middle.utf8CodeUnitCount + reset.count + end.utf8CodeUnitCount)
        answer.write(head)
        if hasDraft {
            answer.write(remaining)
            answer.write("\r\n")
        }
        if hasX {
            answer.write("X-RateLimit-Remaining: ")
            answer.write(remaining)
            answer.write("\r\nX-RateLimit-Reset: ")
            answer.write(reset)
            answer.write("\r\n")
        }
        answer.write("\r\n")
        answer.write(body)
        answer.write(remaining)
        answer.write(middle)
        answer.write(reset)
        answer.write(end)
        return answer.count
    }
}
