import CHiredis

/// Why a stream of bytes is no longer one of replies. The connection cannot go on after any of these.
public enum ReplyFault: Error, Hashable, Sendable {
    /// hiredis refused the bytes; its reason.
    case malformed(String)
    /// A reply of more than ``ReplyReader/maximumReplyBytes`` or ``ReplyReader/maximumElements``.
    case tooLarge
}

/// libhiredis as a codec that does no I/O: bytes in, replies out.
///
/// hiredis builds a reply through callbacks. Ours append to one ``Reply`` that lives as long as the reader and hand
/// back a constant that is not NULL, so that a reply costs no object and nothing has to be freed.
public final class ReplyReader {
    /// The most that may wait for the rest of a reply.
    public static let maximumReplyBytes = 1 << 20
    /// The most elements one array may announce: hiredis 0.14 multiplies the count unchecked (CVE-2021-32765).
    public static let maximumElements = 1 << 16

    private let reader: UnsafeMutablePointer<redisReader>
    /// Where the callbacks write: memory of its own, since hiredis keeps its address.
    private let scratch: UnsafeMutablePointer<Reply>
    private var isDelivered = false

    /// Makes a reader at the start of a stream.
    public init() {
        scratch = .allocate(capacity: 1)
        scratch.initialize(to: Reply())
        guard let made = redisReaderCreateWithFunctions(ReplyCallbacks.table) else {
            fatalError("cannot make a reply reader: out of memory")
        }
        reader = made
        // The macro redisReaderSetPrivdata, which Swift cannot import.
        reader.pointee.privdata = UnsafeMutableRawPointer(scratch)
    }

    deinit {
        redisReaderFree(reader)
        scratch.deinitialize(count: 1)
        scratch.deallocate()
    }

    /// Takes the next bytes of the stream; they are copied.
    public func feed(_ bytes: UnsafeRawBufferPointer) throws(ReplyFault) {
        guard redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count) == REDIS_OK
        else { throw fault() }
    }

    /// The next whole reply, or nil when more bytes are needed. It is valid until the next call.
    public func next() throws(ReplyFault) -> Reply? {
        if isDelivered {
            scratch.pointee.removeAll()
            isDelivered = false
        }
        var object: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &object) == REDIS_OK else { throw fault() }
        guard object != nil else {
            let waiting = reader.pointee.len - reader.pointee.pos + scratch.pointee.bytes.count
            guard waiting <= Self.maximumReplyBytes,
                scratch.pointee.elements.count <= Self.maximumElements
            else { throw .tooLarge }
            return nil
        }
        isDelivered = true
        return scratch.pointee
    }

    private func fault() -> ReplyFault {
        if reader.pointee.err == REDIS_ERR_OOM { return .tooLarge }
        let text = withUnsafeBytes(of: reader.pointee.errstr) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return .malformed(text)
    }
}

/// The callbacks through which hiredis builds a reply.
private enum ReplyCallbacks {
    // Never changed after it is made, and hiredis only reads it; it must outlive every reader, hence never freed.
    nonisolated(unsafe) static let table: UnsafeMutablePointer<redisReplyObjectFunctions> = {
        let table = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 1)
        table.initialize(
            to: redisReplyObjectFunctions(
                createString: { ReplyCallbacks.string($0, $1, $2) },
                createArray: { ReplyCallbacks.array($0, $1) },
                createInteger: { ReplyCallbacks.append($0, .integer(Int($1))) },
                createNil: { ReplyCallbacks.append($0, .null) },
                freeObject: nil
            )
        )
        return table
    }()

    /// What the callbacks return for an object: anything but NULL, which would mean out of memory.
    private static var made: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }

    static func append(_ task: UnsafePointer<redisReadTask>?, _ element: Reply.Element) -> UnsafeMutableRawPointer? {
        guard let reply = task?.pointee.privdata?.assumingMemoryBound(to: Reply.self) else { return nil }
        reply.pointee.elements.append(element)
        return made
    }

    static func array(_ task: UnsafePointer<redisReadTask>?, _ count: Int32) -> UnsafeMutableRawPointer? {
        guard count <= ReplyReader.maximumElements else { return nil }
        return append(task, .array(count: Int(count)))
    }

    static func string(
        _ task: UnsafePointer<redisReadTask>?, _ bytes: UnsafeMutablePointer<CChar>?, _ count: Int
    ) -> UnsafeMutableRawPointer? {
        guard let task, let reply = task.pointee.privdata?.assumingMemoryBound(to: Reply.self) else { return nil }
        let start = reply.pointee.bytes.count
        reply.pointee.bytes.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
        let range = start..<start + count
        switch task.pointee.type {
        case REDIS_REPLY_ERROR: reply.pointee.elements.append(.error(range))
        case REDIS_REPLY_STATUS: reply.pointee.elements.append(.status(range))
        default: reply.pointee.elements.append(.bulk(range))
        }
        return made
    }
}
