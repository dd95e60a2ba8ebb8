import Glibc
import RateLimitCore

/// The last check that ``FastPath`` recognised, so that the next one, which differs from it only in the user, needs two
/// comparisons in place of a look at each header and at the JSON.
///
/// A gateway sends the same head again and again. Where the bytes up to the user's UUID and those behind it are the same,
/// and the 36 between them are a UUID too, the fast path would come to the same result with that user: it read the UUID
/// from just there, and nothing else depends on those bytes.
struct RequestTemplate {
    /// Longer requests are read as if none were known.
    static let capacity = 512

    /// The request; nothing yet where it is empty.
    private var bytes: [UInt8] = []
    private var userOffset = 0
    private var cost = 0

    init() {
        bytes.reserveCapacity(Self.capacity)
    }

    /// The check that `bytes` begin with, and how many of them it takes; nil where it is not the known one.
    @inline(__always)
    func recognise(_ received: UnsafeRawBufferPointer) -> (check: CheckRequest, length: Int)? {
        let length = bytes.count
        guard length > 0, received.count >= length, let start = received.baseAddress else { return nil }
        return bytes.withUnsafeBytes { known in
            let end = userOffset + SubjectID.uuidLength
            guard let base = known.baseAddress, memcmp(base, start, userOffset) == 0,
                memcmp(base + end, start + end, length - end) == 0,
                let user = SubjectID(
                    uuid: UnsafeRawBufferPointer(start: start + userOffset, count: SubjectID.uuidLength))
            else { return nil }
            return (CheckRequest(user: user, cost: cost), length)
        }
    }

    /// Keeps a request that was recognised in the first `length` of `received`, with its user's UUID at `userOffset`.
    mutating func remember(_ received: UnsafeRawBufferPointer, length: Int, userOffset: Int, cost: Int) {
        guard length <= Self.capacity, length <= received.count, userOffset + SubjectID.uuidLength <= length else {
            return
        }
        bytes.removeAll(keepingCapacity: true)
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: received[..<length]))
        self.userOffset = userOffset
        self.cost = cost
    }
}
