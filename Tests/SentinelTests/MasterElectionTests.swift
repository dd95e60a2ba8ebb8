import NIOCore
import Testing

@testable import RedisClient

/// What the Sentinels say, and what follows from it.
@Suite("Which master is followed")
struct MasterElectionTests {
    private static func address(_ port: Int) -> RedisEndpoint.Address { .tcp(host: "h", port: port) }
    private static func id(_ number: Int) -> String { String(repeating: "\(number)", count: 40) }
    private let a = Self.address(1)
    private let b = Self.address(2)
    private let c = Self.address(3)
    private let sentinels = (11...13).map { Self.address($0) }

    /// Sentinels who answer so, each under an id of its own; 0 is the epoch where nothing else is said.
    private func heard(_ answers: [RedisEndpoint.Address?], epochs: [Int] = []) -> MasterElection {
        var election = MasterElection(seeds: (0..<answers.count).map { Self.address(11 + $0) })
        for (index, answer) in answers.enumerated() {
            let sentinel = Self.address(11 + index)
            guard let answer else {
                election.lost(sentinel)
                continue
            }
            election.identified(sentinel, as: Self.id(index))
            let epoch = index < epochs.count ? epochs[index] : 0
            election.answered(sentinel, .names(answer, configEpoch: epoch), peers: [])
        }
        return election
    }

    @Test("What more than half of all say is followed at once")
    func majority() {
        #expect(heard([a]).verdict(isPatienceOver: false) == .follow(a))
        #expect(heard([a, a, nil]).verdict(isPatienceOver: false) == .follow(a))
        #expect(heard([b, a, a], epochs: [9, 0, 0]).verdict(isPatienceOver: false) == .follow(a))
    }

    @Test("Less than that is followed after a while; the epoch, and then the order, breaks a tie")
    func plurality() {
        #expect(heard([a, nil, nil]).verdict(isPatienceOver: false) == .undecided)
        #expect(heard([a, nil, nil]).verdict(isPatienceOver: true) == .follow(a))
        #expect(heard([a, b, nil], epochs: [0, 1]).verdict(isPatienceOver: true) == .follow(b))
        #expect(heard([b, a, nil]).verdict(isPatienceOver: true) == .follow(b))
        #expect(heard([a, b, c, c, nil], epochs: [7, 8, 0, 0]).verdict(isPatienceOver: true) == .follow(c))
    }

    @Test("A master that answers is not left for the word of one")
    func singleVoice() {
        var election = heard([a, a, a])
        election.follow(a)
        election.masterCame()
        election.lost(sentinels[0])
        election.lost(sentinels[1])
        election.answered(sentinels[2], .names(b, configEpoch: 5), peers: [])
        #expect(election.verdict(isPatienceOver: true) == .stay)
        election.masterLeft(asReplica: false)
        #expect(election.verdict(isPatienceOver: true) == .follow(b))
    }

    @Test("Two of two that are left are believed, though they are less than half of all")
    func twoOfFive() {
        var election = heard([a, a, a, a, a])
        election.follow(a)
        election.masterCame()
        for sentinel in sentinels { election.lost(sentinel) }
        for port in 14...15 { election.answered(Self.address(port), .names(b, configEpoch: 1), peers: []) }
        #expect(election.verdict(isPatienceOver: false) == .undecided)
        #expect(election.verdict(isPatienceOver: true) == .follow(b))
    }

    @Test("A server that is no master is passed over while another is named, until one was a master again")
    func refusal() {
        var election = heard([a, a, b])
        election.follow(a)
        election.masterLeft(asReplica: true)
        #expect(election.verdict(isPatienceOver: true) == .follow(b))
        election.follow(b)
        election.masterLeft(asReplica: true)
        // Nothing is left: what most say is tried again.
        #expect(election.verdict(isPatienceOver: true) == .follow(a))
        election.follow(a)
        election.masterCame()
        #expect(election.verdict(isPatienceOver: true) == .stay)
    }

    @Test("No answer, no such name, and neither yet")
    func nobody() {
        var election = MasterElection(seeds: sentinels)
        #expect(election.verdict(isPatienceOver: true) == .undecided)
        election.lost(sentinels[0])
        election.lost(sentinels[1])
        #expect(election.verdict(isPatienceOver: true) == .undecided)
        election.lost(sentinels[2])
        #expect(election.verdict(isPatienceOver: false) == .noAnswer)
        election.answered(sentinels[0], .unknownName, peers: [])
        #expect(election.verdict(isPatienceOver: false) == .undecided)
        #expect(election.verdict(isPatienceOver: true) == .unknownName)
        election.answered(sentinels[1], .names(a, configEpoch: 0), peers: [])
        #expect(election.verdict(isPatienceOver: true) == .follow(a))
    }

    @Test("A Sentinel of two addresses has one voice")
    func oneVoice() {
        var election = heard([a, a, b])
        election.identified(sentinels[1], as: Self.id(0))
        #expect(election.knownCount == 2)
        #expect(election.verdict(isPatienceOver: false) == .undecided)
    }

    @Test("Sentinels that others tell of are taken in, counted, and left when nobody tells of them any more")
    func learning() {
        var election = MasterElection(seeds: [sentinels[0]])
        #expect(election.reviseSentinels().added.isEmpty)
        let peers = (1...2).map { SentinelPeer(address: sentinels[$0], id: Self.id($0)) }
        election.identified(sentinels[0], as: Self.id(0))
        election.answered(sentinels[0], .names(a, configEpoch: 0), peers: peers)
        #expect(election.knownCount == 3)
        #expect(election.verdict(isPatienceOver: false) == .undecided)
        #expect(election.reviseSentinels().added == Array(sentinels.dropFirst()))
        #expect(election.reviseSentinels().added.isEmpty)
        election.answered(sentinels[1], .names(a, configEpoch: 0), peers: [])
        #expect(election.verdict(isPatienceOver: false) == .follow(a))
        election.answered(sentinels[0], .names(a, configEpoch: 0), peers: Array(peers.dropLast()))
        #expect(election.reviseSentinels().removed == [sentinels[2]])
        #expect(election.knownCount == 2)
    }

    @Test("A Sentinel of the URL is not learned a second time under another address")
    func seedUnderAnotherAddress() {
        var election = MasterElection(seeds: Array(sentinels.prefix(2)))
        let alias = SentinelPeer(address: Self.address(99), id: Self.id(1))
        election.identified(sentinels[0], as: Self.id(0))
        election.answered(sentinels[0], .names(a, configEpoch: 0), peers: [alias])
        // Until the second has told its id, it may be another.
        #expect(election.reviseSentinels().added == [alias.address])
        #expect(election.knownCount == 2)
        election.identified(sentinels[1], as: Self.id(1))
        #expect(election.reviseSentinels().removed == [alias.address])
    }

    @Test("However many a Sentinel tells of, the bound holds")
    func bound() {
        var election = MasterElection(seeds: [sentinels[0]])
        for round in 0..<3 {
            let peers = (0..<40).map {
                SentinelPeer(address: Self.address(1_000 * round + 100 + $0), id: "\(round)-\($0)")
            }
            election.answered(sentinels[0], .names(a, configEpoch: 0), peers: peers)
            _ = election.reviseSentinels()
            #expect(election.sentinels.count == RedisTopology.maximumHosts)
        }
    }

    @Test("One that goes on naming another is told of once, until it agrees")
    func dissent() {
        var election = heard([a, a, b])
        election.follow(a)
        let start = NIODeadline.uptimeNanoseconds(1_000)
        #expect(election.newDissenters(at: start).isEmpty && !election.hasDissent)
        election.masterCame()
        #expect(election.newDissenters(at: start).isEmpty && election.hasDissent)
        #expect(election.newDissenters(at: start + .milliseconds(2_999)).isEmpty)
        #expect(election.newDissenters(at: start + .seconds(3)).map { $0.master } == [b])
        #expect(election.newDissenters(at: start + .seconds(9)).isEmpty)
        election.answered(sentinels[2], .names(a, configEpoch: 0), peers: [])
        #expect(election.newDissenters(at: start + .seconds(10)).isEmpty && !election.hasDissent)
    }
}

@Suite("Replies of a Sentinel")
struct SentinelRepliesTests {
    private func parsed(_ text: String) throws -> Reply {
        let reader = ReplyReader()
        try Array(text.utf8).withUnsafeBytes { try reader.feed($0) }
        return try #require(try reader.next())
    }

    private func array(_ texts: [String]) -> String {
        "*\(texts.count)\r\n" + texts.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
    }

    @Test("name the master")
    func master() throws {
        let named = SentinelReplies.masterAddress(try parsed(array(["10.0.0.1", "6379"])))
        #expect(named == .some(.some(.tcp(host: "10.0.0.1", port: 6379))))
        #expect(SentinelReplies.masterAddress(try parsed("*-1\r\n")) == .some(.none))
        for text in [
            array(["10.0.0.1"]), array(["", "1"]), array(["h", "0"]), array(["h", "65536"]), array(["a b", "1"]),
            array(["h", "x"]), array([String(repeating: "h", count: 256), "1"]), "+OK\r\n", "-ERR no\r\n", ":1\r\n",
        ] {
            #expect(SentinelReplies.masterAddress(try parsed(text)) == .none, "\(text)")
        }
    }

    @Test("tell the epoch, and 0 where they tell none")
    func epoch() throws {
        #expect(SentinelReplies.configEpoch(try parsed(array(["name", "m", "config-epoch", "7"]))) == 7)
        for text in [array(["name", "m"]), array(["config-epoch"]), "-ERR No such master\r\n", "*0\r\n", ":7\r\n"] {
            #expect(SentinelReplies.configEpoch(try parsed(text)) == 0, "\(text)")
        }
    }

    @Test("tell of other Sentinels, each with address and id")
    func peers() throws {
        let id = String(repeating: "0a", count: 20)
        let good = array(["name", "x", "ip", "10.0.0.2", "port", "26379", "runid", id])
        let bad = array(["ip", "10.0.0.2", "port", "26379", "runid", "short"])
        let reply = try parsed("*3\r\n\(good)\(bad)\(good)")
        let peer = SentinelPeer(address: .tcp(host: "10.0.0.2", port: 26_379), id: id)
        #expect(SentinelReplies.peers(reply) == [peer, peer])
        let many = try parsed("*40\r\n" + String(repeating: good, count: 40))
        #expect(SentinelReplies.peers(many).count == RedisTopology.maximumHosts)
        #expect(SentinelReplies.peers(try parsed("-NOPERM no\r\n")).isEmpty)
    }

    @Test("tell a Sentinel's own id")
    func ownID() throws {
        let id = String(repeating: "f1", count: 20)
        #expect(SentinelReplies.id(try parsed("$40\r\n\(id)\r\n")) == id)
        for text in [
            "-ERR unknown\r\n", "$2\r\nf1\r\n", "+\(id)\r\n", "$40\r\n\(String(repeating: "zz", count: 20))\r\n",
        ] {
            #expect(SentinelReplies.id(try parsed(text)) == nil, "\(text)")
        }
    }
}
