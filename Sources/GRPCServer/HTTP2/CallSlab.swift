/// The records of a connection's calls, at addresses that stay until it ends.
struct CallSlab {
    private static let chunkLength = 32
    private var free: UnsafeMutablePointer<CallRecord>?
    /// The first record of each chunk is no call's: it leads to the chunk before.
    private var lastChunk: UnsafeMutablePointer<CallRecord>?
    private var count = 0

    /// A record for one more call; nil at the bound.
    mutating func take() -> UnsafeMutablePointer<CallRecord>? {
        if free == nil {
            guard count < HTTP2Bounds.callRecords else { return nil }
            grow()
        }
        guard let record = free else { return nil }
        free = record.pointee.next
        // A reply's room is kept for the next call: most need no allocation.
        let reply = record.pointee.reply
        record.pointee = CallRecord()
        record.pointee.reply = reply
        return record
    }

    /// Takes a record back.
    mutating func give(_ record: UnsafeMutablePointer<CallRecord>) {
        record.pointee.state = []
        record.pointee.streamID = 0
        record.pointee.reply.clear()
        record.pointee.next = free
        free = record
    }

    private mutating func grow() {
        let chunk = UnsafeMutablePointer<CallRecord>.allocate(capacity: Self.chunkLength)
        chunk.initialize(repeating: CallRecord(), count: Self.chunkLength)
        chunk.pointee.next = lastChunk
        lastChunk = chunk
        for index in 1..<Self.chunkLength {
            chunk[index].next = free
            free = chunk + index
        }
        count += Self.chunkLength - 1
    }

    /// Every call whose stream is there.
    func forEachOpen(_ body: (UnsafeMutablePointer<CallRecord>) -> Void) {
        var chunk = lastChunk
        while let first = chunk {
            for index in 1..<Self.chunkLength
            where first[index].streamID != 0 && !first[index].state.contains(.isClosed) {
                body(first + index)
            }
            chunk = first.pointee.next
        }
    }

    /// Gives all memory back.
    mutating func end() {
        while let chunk = lastChunk {
            for index in 0..<Self.chunkLength {
                chunk[index].reply.clear(keeping: 0)
                chunk[index].gathered.clear(keeping: 0)
            }
            lastChunk = chunk.pointee.next
            chunk.deallocate()
        }
        free = nil
    }
}
