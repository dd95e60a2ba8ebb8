import Testing

@testable import RedisClient

@Suite("Hash slots and redirections")
struct HashSlotTests {
    private let asked = RedisEndpoint.Address.tcp(host: "10.0.0.1", port: 7000)

    @Test("The checksum is CRC-16/XMODEM, in one piece or in several")
    func checksum() {
        var whole = CRC16()
        whole.update(Array("123456789".utf8))
        #expect(whole.value == 0x31c3)
        var parts = CRC16()
        for part in ["1234", "", "56789"] { parts.update(Array(part.utf8)) }
        #expect(parts.value == whole.value)
    }

    @Test(
        "A key's slot is that of its hash tag, where it has one that is not empty",
        arguments: [
            ("foo", 12182), ("bar", 5061), ("{foo}.a", 12182), ("a{foo}b{bar}", 12182), ("123456789", 12739),
        ])
    func slot(_ key: String, _ slot: Int) {
        #expect(HashSlot(key: Array(key.utf8)).number == slot)
    }

    @Test("Braces without a text between them, or without an end, are no hash tag", arguments: ["{}a", "a{b", "}{"])
    func noTag(_ key: String) {
        var checksum = CRC16()
        checksum.update(Array(key.utf8))
        #expect(HashSlot(key: Array(key.utf8)) == HashSlot(checksum))
    }

    @Test("Redirections are read, with hosts of every kind")
    func redirections() throws {
        func read(_ error: String) -> Redirection? { Redirection(error, from: asked) }
        let slot = try #require(HashSlot(3999))
        #expect(read("MOVED 3999 127.0.0.1:6381") == .moved(slot, to: .tcp(host: "127.0.0.1", port: 6381)))
        #expect(read("MOVED 3999 ::1:6381") == .moved(slot, to: .tcp(host: "::1", port: 6381)))
        #expect(read("MOVED 3999 node-2.example:6381") == .moved(slot, to: .tcp(host: "node-2.example", port: 6381)))
        #expect(read("MOVED 3999 :6381") == .moved(slot, to: .tcp(host: "10.0.0.1", port: 6381)))
        #expect(read("ASK 3999 ?:6381") == .ask(.tcp(host: "10.0.0.1", port: 6381)))
        #expect(read("ASK 3999 127.0.0.1:6381") == .ask(.tcp(host: "127.0.0.1", port: 6381)))
        #expect(read("TRYAGAIN Multiple keys request during rehashing of slot") == .tryAgain)
        #expect(read("CLUSTERDOWN The cluster is down") == .clusterDown)
    }

    @Test(
        "Whatever else an error says is none",
        arguments: [
            "", "MOVED", "MOVED 3999", "MOVED 16384 h:1", "MOVED -1 h:1", "MOVED x h:1", "MOVED 1 h", "MOVED 1 h:",
            "MOVED 1 h:0", "MOVED 1 h:65536", "ASK 1", "ERR MOVED 1 h:1", "CROSSSLOT Keys don't hash to the same slot",
            "MOVEDX 1 h:1", "NOSCRIPT No matching script.",
        ])
    func none(_ error: String) {
        #expect(Redirection(error, from: asked) == nil)
    }
}
