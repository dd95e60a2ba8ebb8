/// Why a reply is no map of a cluster.
package enum SlotMapFault: Error, Hashable, Sendable {
    /// Redis answered with an error; its text.
    case refused(String)
    /// It is not of the form of CLUSTER SLOTS or CLUSTER SHARDS.
    case malformed
    /// The node knows of no slot: it belongs to no cluster, or not yet.
    case empty
    /// More than ``SlotMap/maximumMasters``.
    case tooManyMasters
}

/// Which master has which slots, as one node of a cluster tells it.
package struct SlotMap: Sendable, Equatable {
    /// The most masters of a map; Redis itself advises against more than 1,000 nodes.
    package static let maximumMasters = 1024
    /// What stands in ``owners`` for a slot without a master.
    package static let nobody = UInt16.max

    /// The masters that have slots, in the order in which the node named them.
    package private(set) var masters: [RedisEndpoint.Address] = []
    /// For each slot the index of its master in ``masters``.
    package private(set) var owners = [UInt16](repeating: nobody, count: HashSlot.count)

    /// How many slots have no master.
    package var slotsWithoutMaster: Int { owners.count { $0 == Self.nobody } }

    /// The master of a slot.
    package func master(of slot: HashSlot) -> RedisEndpoint.Address? {
        let owner = owners[slot.number]
        return owner == Self.nobody ? nil : masters[Int(owner)]
    }

    /// Reads the reply to CLUSTER SLOTS: for each range of slots its first and last, the master, then the replicas.
    ///
    /// - Parameter asked: the node that was asked: a node without a host is at the same host.
    package init(slots reply: Reply, from asked: RedisEndpoint.Address) throws(SlotMapFault) {
        var cursor = try Self.cursor(over: reply)
        for _ in 0..<(try cursor.array()) {
            let parts = try cursor.array()
            guard parts >= 3 else { throw .malformed }
            let first = try cursor.integer()
            let last = try cursor.integer()
            let fields = try cursor.array()
            guard fields >= 2 else { throw .malformed }
            let host = try cursor.text()
            let port = try cursor.integer()
            for _ in 0..<(fields - 2 + parts - 3) { try cursor.skip() }
            guard let address = asked.neighbour(host: host, port: port) else { throw .malformed }
            try assign(first, last, to: address)
        }
        guard !masters.isEmpty else { throw .empty }
    }

    /// Reads the reply to CLUSTER SHARDS: for each shard the ranges of its slots and its nodes, as names and values.
    ///
    /// - Parameters:
    ///   - asked: the node that was asked: a node without a host is at the same host.
    ///   - usesTLS: whether the port for TLS is wanted.
    package init(shards reply: Reply, from asked: RedisEndpoint.Address, usesTLS: Bool) throws(SlotMapFault) {
        var cursor = try Self.cursor(over: reply)
        for _ in 0..<(try cursor.array()) {
            var ranges: [Int] = []
            var master: ShardNode?
            for _ in 0..<(try cursor.array() / 2) {
                switch try cursor.text() {
                case "slots": for _ in 0..<(try cursor.array()) { ranges.append(try cursor.integer()) }
                case "nodes":
                    for _ in 0..<(try cursor.array()) {
                        let node = try ShardNode(&cursor, usesTLS: usesTLS)
                        // One that has failed stands beside the one that took its place.
                        if node.isMaster, master?.isOnline != true { master = node }
                    }
                default: try cursor.skip()
                }
            }
            guard !ranges.isEmpty else { continue }
            guard ranges.count.isMultiple(of: 2) else { throw .malformed }
            guard let master else { continue }
            guard let address = asked.neighbour(host: master.host, port: master.port) else { throw .malformed }
            for index in stride(from: 0, to: ranges.count, by: 2) {
                try assign(ranges[index], ranges[index + 1], to: address)
            }
        }
        guard !masters.isEmpty else { throw .empty }
    }

    private static func cursor(over reply: Reply) throws(SlotMapFault) -> ReplyCursor {
        if let error = reply.errorText { throw .refused(error) }
        return ReplyCursor(reply: reply)
    }

    private mutating func assign(
        _ first: Int, _ last: Int, to address: RedisEndpoint.Address
    ) throws(SlotMapFault) {
        guard first >= 0, first <= last, last < HashSlot.count else { throw .malformed }
        // A master's ranges mostly come one after the other.
        let index: Int
        if let known = masters.lastIndex(of: address) {
            index = known
        } else {
            guard masters.count < Self.maximumMasters else { throw .tooManyMasters }
            index = masters.count
            masters.append(address)
        }
        for slot in first...last { owners[slot] = UInt16(index) }
    }
}

/// A node as CLUSTER SHARDS tells it.
private struct ShardNode {
    var host: String?
    var port = 0
    var isMaster = false
    var isOnline = false

    init(_ cursor: inout ReplyCursor, usesTLS: Bool) throws(SlotMapFault) {
        for _ in 0..<(try cursor.array() / 2) {
            switch try cursor.text() {
            case "endpoint": host = try cursor.text()
            case "port": if usesTLS { try cursor.skip() } else { port = try cursor.integer() }
            case "tls-port": if usesTLS { port = try cursor.integer() } else { try cursor.skip() }
            case "role": isMaster = try cursor.text() == "master"
            case "health": isOnline = try cursor.text() == "online"
            default: try cursor.skip()
            }
        }
    }
}

/// Reads a flat reply from its start to its end.
private struct ReplyCursor {
    let reply: Reply
    private var position = 0

    init(reply: Reply) { self.reply = reply }

    private mutating func next() throws(SlotMapFault) -> Reply.Element {
        guard position < reply.elements.count else { throw .malformed }
        defer { position += 1 }
        return reply.elements[position]
    }

    /// The count of an array, whose elements come next.
    mutating func array() throws(SlotMapFault) -> Int {
        guard case .array(let count) = try next(), count >= 0 else { throw .malformed }
        return count
    }

    /// A number, also one written as a text.
    mutating func integer() throws(SlotMapFault) -> Int {
        let element = try next()
        if case .integer(let value) = element { return value }
        guard let value = reply.text(of: element).flatMap({ Int($0) }) else { throw .malformed }
        return value
    }

    /// A text; nil where it is missing.
    mutating func text() throws(SlotMapFault) -> String? {
        let element = try next()
        if case .null = element { return nil }
        guard let text = reply.text(of: element) else { throw .malformed }
        return text
    }

    /// Leaves out one value with all that is in it.
    mutating func skip() throws(SlotMapFault) {
        var values = 1
        while values > 0 {
            values -= 1
            if case .array(let count) = try next() { values += count }
        }
    }
}
