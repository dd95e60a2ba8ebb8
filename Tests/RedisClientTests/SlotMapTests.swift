import Testing

@testable import RedisClient

@Suite("Slot maps")
struct SlotMapTests {
    private let asked = RedisEndpoint.Address.tcp(host: "10.0.0.9", port: 7000)

    /// Reads a reply written with spaces for line ends.
    private func reply(_ text: String) throws -> Reply {
        let reader = ReplyReader()
        let bytes = Array((text.split(whereSeparator: \.isWhitespace).joined(separator: "\r\n") + "\r\n").utf8)
        try bytes.withUnsafeBytes { try reader.feed($0) }
        return try #require(try reader.next())
    }

    private func master(_ number: Int, of map: SlotMap) throws -> RedisEndpoint.Address? {
        map.master(of: try #require(HashSlot(number)))
    }

    private func node(_ host: String, _ port: Int) -> String { "*4 \(host) :\(port) $2 id *0" }

    @Test("CLUSTER SLOTS: masters in the order of the reply, hosts that are missing, slots that nobody has")
    func slots() throws {
        let map = try SlotMap(
            slots: try reply(
                "*4 *3 :0 :99 \(node("$1 a", 1)) *4 :100 :199 \(node("$1 ?", 2)) \(node("$1 r", 9))"
                    + " *3 :200 :200 \(node("$1 a", 1)) *3 :300 :16383 *2 $-1 :3"
            ), from: asked
        )
        #expect(
            map.masters == [.tcp(host: "a", port: 1), .tcp(host: "10.0.0.9", port: 2), .tcp(host: "10.0.0.9", port: 3)])
        #expect(try master(0, of: map) == map.masters[0] && (try master(200, of: map)) == map.masters[0])
        #expect(try master(199, of: map) == map.masters[1] && (try master(16383, of: map)) == map.masters[2])
        #expect(try master(201, of: map) == nil)
        #expect(map.slotsWithoutMaster == 99)
    }

    private func shardNode(_ host: String, _ port: Int, _ role: String, _ health: String, tlsPort: Int? = nil) -> String
    {
        let tls = tlsPort.map { " $8 tls-port :\($0)" } ?? ""
        return "*\(tlsPort == nil ? 12 : 14) $2 id $1 x $4 port :\(port)\(tls) $2 ip $1 y $8 endpoint \(host) "
            + "$4 role $\(role.utf8.count) \(role) $6 health $\(health.utf8.count) \(health)"
    }

    @Test("CLUSTER SHARDS: the master of each shard, one that has failed only where there is no other")
    func shards() throws {
        let text =
            "*3 *4 $5 slots *4 :0 :99 :200 :200 $5 nodes *3 \(shardNode("$1 r", 1, "replica", "online")) "
            + "\(shardNode("$1 f", 2, "master", "fail")) \(shardNode("$1 a", 3, "master", "online", tlsPort: 33)) "
            + "*4 $5 slots *2 $3 100 $3 199 $5 nodes *1 \(shardNode("$-1", 4, "master", "fail", tlsPort: 44)) "
            + "*4 $5 slots *0 $5 nodes *1 \(shardNode("$1 e", 5, "master", "online"))"
        let map = try SlotMap(shards: try reply(text), from: asked, usesTLS: false)
        #expect(map.masters == [.tcp(host: "a", port: 3), .tcp(host: "10.0.0.9", port: 4)])
        #expect(try master(200, of: map) == map.masters[0] && (try master(150, of: map)) == map.masters[1])
        let encrypted = try SlotMap(shards: try reply(text), from: asked, usesTLS: true)
        #expect(encrypted.masters == [.tcp(host: "a", port: 33), .tcp(host: "10.0.0.9", port: 44)])
    }

    @Test(
        "What is no map is refused",
        arguments: [
            (":1", SlotMapFault.malformed), ("*1 :1", .malformed), ("*1 *2 :0 :1", .malformed),
            ("*1 *3 :0 :16384 *2 $1 a :1", .malformed), ("*1 *3 :5 :4 *2 $1 a :1", .malformed),
            ("*1 *3 :-1 :4 *2 $1 a :1", .malformed), ("*1 *3 :0 :4 *2 $1 a :0", .malformed),
            ("*1 *3 :0 :4 *1 $1 a", .malformed), ("*1 *3 :0 $1 x *2 $1 a :1", .malformed), ("*0", .empty),
        ])
    func faults(_ text: String, _ fault: SlotMapFault) throws {
        let reply = try reply(text)
        #expect(throws: fault) { try SlotMap(slots: reply, from: asked) }
    }

    @Test("An error of Redis's is told as it is")
    func refused() throws {
        let reader = ReplyReader()
        try Array("-ERR This instance has cluster support disabled\r\n".utf8).withUnsafeBytes { try reader.feed($0) }
        let reply = try #require(try reader.next())
        #expect(throws: SlotMapFault.refused("ERR This instance has cluster support disabled")) {
            try SlotMap(slots: reply, from: asked)
        }
        #expect(throws: SlotMapFault.refused("ERR This instance has cluster support disabled")) {
            try SlotMap(shards: reply, from: asked, usesTLS: false)
        }
    }

    @Test("A map has a bound")
    func bound() throws {
        let ranges = (0...SlotMap.maximumMasters).map { "*3 :\($0) :\($0) *2 $1 a :\($0 + 1)" }
        let whole = try reply("*\(ranges.count - 1) " + ranges.dropLast().joined(separator: " "))
        #expect(try SlotMap(slots: whole, from: asked).masters.count == SlotMap.maximumMasters)
        let above = try reply("*\(ranges.count) " + ranges.joined(separator: " "))
        #expect(throws: SlotMapFault.tooManyMasters) { try SlotMap(slots: above, from: asked) }
    }
}
