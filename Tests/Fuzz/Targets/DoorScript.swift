import RateLimitCore

/// What one input of ``fuzzDoors(_:)`` says, in lines: under which limits, what Redis decides, and the calls.
///
///     1ad
///     check⇥user=ada⇥group=red⇥model=gpt-4o⇥label.team=x⇥cost=3
///     reserve⇥user=ada⇥id=r1
///     settle⇥id=r1⇥input_tokens=5
///     auth⇥header.X-User-Id=ada⇥peer=10.0.0.1
///
/// Members stand behind tabs; `%09` stands for a byte of a value. Whatever else stands there is passed over, so that any
/// bytes make calls.
struct DoorScript {
    /// How many calls of an input count.
    static let mostCalls = 12

    /// Under which of the limits.
    private(set) var policy = 0
    /// What Redis decides, one letter for each decision, again from the first behind the last.
    private(set) var decisions: [UInt8] = []
    private(set) var calls: [DoorCall] = []

    init(_ bytes: UnsafeRawBufferPointer) {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), maxSplits: 64)
        guard let first = lines.first?.first else { return }
        policy = Int(first &- UInt8(ascii: "0"))
        decisions = Array(lines[0].dropFirst().prefix(64))
        for line in lines.dropFirst() where calls.count < Self.mostCalls {
            let words = line.split(separator: UInt8(ascii: "\t"), maxSplits: 96, omittingEmptySubsequences: true)
            guard let name = words.first, let kind = DoorCall.Kind(ofFirst: name.first) else { continue }
            var call = DoorCall(kind: kind)
            for word in words.dropFirst() { call.read(Array(word)) }
            calls.append(call)
        }
    }
}

/// A call as both doors can say it.
struct DoorCall {
    enum Kind: CaseIterable {
        case check, reserve, settle, usage, authorize

        init?(ofFirst letter: UInt8?) {
            switch letter {
            case UInt8(ascii: "c"): self = .check
            case UInt8(ascii: "r"): self = .reserve
            case UInt8(ascii: "s"): self = .settle
            case UInt8(ascii: "u"): self = .usage
            case UInt8(ascii: "a"): self = .authorize
            default: return nil
            }
        }
    }

    /// How it is written, and nothing that it says.
    enum Manner: String, CaseIterable {
        /// By GET, where user and cost are all.
        case query = "get"
        /// With a header that the fast path leaves to NIOHTTP1.
        case slow
        /// Each limit is told.
        case verbose
        /// Each character of JSON's texts is an escape.
        case escaped = "esc"
        /// The hits are the descriptor's own, and not the request's.
        case ownHits = "own"
        /// What names the user comes last.
        case userLast = "last"
        /// The descriptor that asks also charges, in one request.
        case inOne = "one"
        /// Headers are a map, as Envoy sends them where it is not told otherwise.
        case headersAreMap = "map"
        /// By POST, with a body that nobody reads.
        case post
    }

    /// How many headers, groups and labels each count: what both doors have room for.
    static let mostMembers = 24

    var kind: Kind
    var user: String?
    var groups: [String] = []
    var model: String?
    var provider: String?
    var labels: [(name: String, value: String)] = []
    /// From 1 on: HTTP has no look.
    var cost = 1
    var id: String?
    /// What it came to, each amount by itself.
    var charges: [(charge: Charge, hits: Int)] = []
    var headers: [(name: String, value: [UInt8])] = []
    /// Who has sent the request to the proxy; nil for a Unix socket.
    var peer: IPAddress?
    var manners: Set<Manner> = []

    /// What it may be that it charges.
    enum Charge: String, CaseIterable {
        case tokens
        case inputTokens = "input_tokens"
        case outputTokens = "output_tokens"
        case spendMicros = "spend_micros"
    }

    init(kind: Kind) { self.kind = kind }

    /// Takes one member.
    fileprivate mutating func read(_ word: [UInt8]) {
        let sides = word.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(decoding: sides[0], as: UTF8.self)
        guard sides.count == 2 else {
            if let manner = Manner(rawValue: name) { manners.insert(manner) }
            return
        }
        let bytes = Self.decoded(sides[1])
        let text = String(decoding: bytes, as: UTF8.self)
        switch name {
        case "user": user = text
        case "group": if groups.count < Self.mostMembers / 2 { groups.append(text) }
        case "model": model = text
        case "provider": provider = text
        case "cost": cost = max(1, Int(text) ?? 1)
        case "id": id = text
        case "peer": peer = IPAddress(text)
        default: readNamed(name, bytes, text)
        }
    }

    private mutating func readNamed(_ name: String, _ bytes: [UInt8], _ text: String) {
        if let charge = Charge(rawValue: name) {
            // Above what a call may come to HTTP's door passes the member over, and that of gRPC takes the most.
            guard let hits = Int(text), TokenUsage.counts.contains(hits), charges.count < 8 else { return }
            charges.append((charge, hits))
        } else if name.hasPrefix("label."), name.utf8.count > 6 {
            let label = String(name.dropFirst(6))
            // Of a label that stands twice HTTP's door takes the last, and that of gRPC refuses it: an operator wrote it.
            labels.removeAll { $0.name.utf8.elementsEqual(label.utf8) }
            if labels.count < Self.mostMembers / 2 { labels.append((label, text)) }
        } else if name.hasPrefix("header."), headers.count < Self.mostMembers {
            let header = String(name.dropFirst(7))
            guard Self.headerNames.contains(header.lowercased()) else { return }
            // What can stand in a header of HTTP/1.1 at all.
            headers.append((header, bytes.filter { $0 == 9 || $0 >= 0x20 && $0 != 0x7f }))
        }
    }

    /// Those that may say something of a call, and of the connection nothing.
    private static let headerNames: Set = [
        "authorization", "x-api-key", "x-forwarded-for", "x-model", "x-provider", "x-request-id", "x-team", "x-org",
        "x-tenant", "x-user-id",
    ]

    private static func decoded(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var decoded: [UInt8] = []
        var rest = bytes.prefix(600)
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                decoded.append(value)
                rest = rest.dropFirst(2)
            } else {
                decoded.append(byte)
            }
        }
        return decoded
    }
}
