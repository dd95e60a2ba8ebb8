import RateLimitCore
import Testing

@Suite("An address and ranges of them")
struct AddressTests {
    @Test(
        "are written in one way, however they were read",
        arguments: [
            ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("::FFFF:c000:207", "192.0.2.7"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("::", "::"), ("::1", "::1"), ("0.0.0.0", "0.0.0.0"),
        ])
    func description(_ text: String, _ expected: String) throws {
        #expect(try #require(IPAddress(text)).description == expected)
    }

    @Test("are not read from anything else")
    func malformed() {
        for text in [
            "", " ", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", "1.2.3.4\u{0}", "[::1]", "::1%eth0",
            "1:2", "unknown", "localhost", "1.2.3.4/8", "１.2.3.4", String(repeating: "0", count: 1_000),
        ] {
            #expect(IPAddress(text) == nil, "\(text)")
        }
    }

    @Test("A range has the addresses that begin with its bits, and none of the other family")
    func ranges() throws {
        func holds(_ range: String, _ address: String) throws -> Bool {
            try AddressRange(range).contains(try #require(IPAddress(address)))
        }
        #expect(try holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.0"))
        #expect(try holds("10.0.0.0/8", "::ffff:10.1.2.3"))
        #expect(try holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"))
        #expect(try holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "::1"))
        #expect(try holds("::/0", "2001:db8::1") && !holds("::/0", "192.0.2.7"))
        #expect(try holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::1"))
        #expect(
            try holds("2001:db8:0:1::/65", "2001:db8:0:1:7000::") && !holds("2001:db8:0:1::/65", "2001:db8:0:1:8000::"))
        #expect(try holds("fe80::/10", "febf::1") && !holds("fe80::/10", "fec0::1"))
    }

    @Test("A range is read back as it is written, and refused where the reader may have meant another")
    func malformedRanges() throws {
        for text in ["10.0.0.0/8", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1"] {
            #expect(try AddressRange(text).description == text)
        }
        for text in ["10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/+8", "::/129", "/8", "10.0.0.0/8/8", "a"] {
            #expect(throws: AddressRange.Problem.malformed(text)) { try AddressRange(text) }
        }
        #expect(throws: AddressRange.Problem.bitsBehindPrefix("10.0.0.1/8", range: "10.0.0.0/8")) {
            try AddressRange("10.0.0.1/8")
        }
    }
}

@Suite("The client behind trusted proxies")
struct TrustedProxiesTests {
    private static let proxies = "10.0.0.0/8, 2001:db8:1::/48,unix"

    private func client(
        _ peer: String, _ forwarded: [String], trusted: String = TrustedProxiesTests.proxies
    ) throws -> String? {
        let peer = peer == "unix" ? ConnectionPeer.unixSocket : .address(try #require(IPAddress(peer)))
        let proxies = trusted.isEmpty ? TrustedProxies.none : try TrustedProxies(trusted)
        return proxies.client(of: peer, forwardedFor: forwarded)?.description
    }

    @Test("A peer that is not trusted is the client, whatever it says")
    func untrusted() throws {
        #expect(try client("192.0.2.7", ["203.0.113.9"]) == "192.0.2.7")
        #expect(try client("10.0.0.1", ["203.0.113.9"], trusted: "") == "10.0.0.1")
        #expect(try client("unix", ["203.0.113.9"], trusted: "10.0.0.0/8") == nil)
        #expect(try client("2001:db8:2::1", ["203.0.113.9"]) == "2001:db8:2::1")
    }

    @Test("The last address that is no trusted proxy's is the client's, over all values of the header")
    func walk() throws {
        #expect(try client("10.0.0.1", ["203.0.113.9"]) == "203.0.113.9")
        #expect(try client("10.0.0.1", ["203.0.113.9, 10.0.0.2 ,10.0.0.3"]) == "203.0.113.9")
        #expect(try client("10.0.0.1", ["1.1.1.1, 203.0.113.9", "10.0.0.2"]) == "203.0.113.9")
        #expect(try client("10.0.0.1", ["1.1.1.1", "203.0.113.9"]) == "203.0.113.9")
        #expect(try client("unix", ["203.0.113.9"]) == "203.0.113.9")
        #expect(try client("2001:db8:1::5", ["2001:db8:9::1"]) == "2001:db8:9::1")
    }

    @Test("What the client itself wrote before counts nothing")
    func spoofed() throws {
        for written in [
            "1.1.1.1", "10.0.0.9", "unknown", "", ",,,", "1.1.1.1, 10.0.0.2", "\u{600}", "\u{301}", "\"", "[",
        ] {
            #expect(try client("10.0.0.1", ["\(written), 203.0.113.9"]) == "203.0.113.9", "\(written)")
            #expect(try client("10.0.0.1", ["\(written)", "203.0.113.9"]) == "203.0.113.9", "\(written)")
            #expect(try client("unix", ["\(written),203.0.113.9, 10.1.1.1"]) == "203.0.113.9", "\(written)")
        }
    }

    @Test("Where the chain ends without one, or in something that is no address, the nearest proxy is the client")
    func ends() throws {
        #expect(try client("10.0.0.1", []) == "10.0.0.1")
        #expect(try client("10.0.0.1", ["10.0.0.3, 10.0.0.2"]) == "10.0.0.3")
        for end in [
            "unknown", "", "unix:", "_hidden", "1.2.3.4.5", "[192.0.2.7]", "[::1", "[::1]x", "1.2.3.4:", "::1:99999:",
        ] {
            #expect(try client("10.0.0.1", ["203.0.113.9, \(end)"]) == "10.0.0.1", "\(end)")
            #expect(try client("10.0.0.1", ["203.0.113.9, \(end), 10.0.0.7"]) == "10.0.0.7", "\(end)")
            #expect(try client("unix", ["203.0.113.9, \(end)"]) == nil, "\(end)")
        }
        #expect(try client("unix", []) == nil)
    }

    @Test("Ports and brackets are passed over")
    func ports() throws {
        #expect(try client("10.0.0.1", ["203.0.113.9:4711"]) == "203.0.113.9")
        #expect(try client("10.0.0.1", ["[2001:db8:9::1]:4711, 10.0.0.2:80"]) == "2001:db8:9::1")
        #expect(try client("10.0.0.1", ["[2001:db8:9::1]"]) == "2001:db8:9::1")
        #expect(try client("10.0.0.1", ["::ffff:203.0.113.9"]) == "203.0.113.9")
    }

    @Test("The longest chain that fits a head is read to its end")
    func long() throws {
        let chain = Array(repeating: "10.0.0.2", count: 1_600).joined(separator: ",")
        #expect(try client("10.0.0.1", ["203.0.113.9,\(chain)"]) == "203.0.113.9")
    }

    @Test("The list is read back as it is written, and is bounded")
    func list() throws {
        #expect(try TrustedProxies(" 10.0.0.0/8 ,unix,::1").description == "10.0.0.0/8,::1,unix")
        #expect(try TrustedProxies("10.0.0.0/8,::1,unix") == TrustedProxies("unix, 10.0.0.0/8, ::1"))
        #expect(TrustedProxies.none.description.isEmpty)
        #expect(throws: TrustedProxies.Problem.tooMany(65)) {
            try TrustedProxies(Array(repeating: "::1", count: 65).joined(separator: ","))
        }
        for text in ["10.0.0.0/8,", "UNIX", "localhost"] {
            #expect(throws: TrustedProxies.Problem.self) { try TrustedProxies(text) }
        }
    }
}
