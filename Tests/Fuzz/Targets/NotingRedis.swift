import NIOCore
import NIOPosix

/// What one request asks of `decide.lua`, byte for byte. A lease, which each side draws, has its place among those it has
/// drawn in place of its id; and of one that is asked for only how long it is to live.
struct AskedDecision: Hashable, CustomStringConvertible {
    var keys: [[UInt8]]
    var plan: [UInt8]
    var id: [UInt8]
    var amounts: [UInt8]

    var description: String {
        let keys = keys.map { String(decoding: $0, as: UTF8.self) }
        return "keys \(keys) plan \(plan) id \(id) amounts \(amounts)"
    }
}

/// Stands where Redis would, on the event loop of who asks: it notes what is asked, and answers as it is told to, so that
/// what both doors ask can be compared whatever is decided. It keeps nothing, and what the scripts do is none of its affair.
final class NotingRedis {
    private(set) var asked: [AskedDecision] = []
    /// What is decided, by a letter: `d` denied, `f` denied for good, `c` at capacity, `u` no such lease, `r` done before,
    /// `t` too late, `e` an error, and by any other, or where it makes no sense, allowed.
    private var decisions: [UInt8] = []
    private var leases: [UInt64: Int] = [:]

    /// Forgets what it was asked, and decides by other letters from now on.
    func begin(_ decisions: [UInt8]) {
        self.decisions = decisions
        asked = []
        leases = [:]
    }

    /// Answers a command as RESP has it.
    func answer(_ command: [[UInt8]]) -> [UInt8] {
        let words = command.prefix(2).map { String(decoding: $0.prefix(16), as: UTF8.self) }
        switch words.first {
        case "SCRIPT":
            return Self.bulk(Array((command.last?.count ?? 0 > Self.longestHeartbeat ? "decide" : "beat").utf8))
        case "EVALSHA" where words.last == "decide": return decide(command)
        // A heartbeat: what was, what is and what was seen, all the same, and no refusal.
        case "EVALSHA", "EVAL": return Array("*4\r\n:1\r\n:1\r\n:1\r\n$0\r\n\r\n".utf8)
        case "HGETALL":
            let isOfGroups = command.last.map { $0.suffix(7).elementsEqual(":groups".utf8) } ?? false
            return Array((isOfGroups ? "*2\r\n$3\r\nred\r\n$1\r\n1\r\n" : "*0\r\n").utf8)
        case "SUBSCRIBE": return Array("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n".utf8)
        case "GET": return Array("$-1\r\n".utf8)
        case "PING": return Array("+PONG\r\n".utf8)
        default: return Array("-ERR unknown command\r\n".utf8)
        }
    }

    /// The script of heartbeats is some kilobytes long, and that of decisions many.
    private static let longestHeartbeat = 12_288

    private static func bulk(_ bytes: [UInt8]) -> [UInt8] {
        Array("$\(bytes.count)\r\n".utf8) + bytes + Array("\r\n".utf8)
    }
}

// MARK: - Decisions

extension NotingRedis {
    /// What stands in a plan, as `DecisionPlan` writes it.
    private struct Plan {
        enum Operation: UInt8 { case check = 1, reserve, renew, settle, release, usage, reset }

        let bytes: [UInt8]
        let operation: Operation?
        let subjects: Int
        let hasID: Bool
        let amounts: Int
        let terms: Int

        init(_ bytes: [UInt8]) {
            self.bytes = bytes
            operation = bytes.first.flatMap(Operation.init(rawValue:))
            subjects = bytes.count > 3 ? Int(bytes[1]) : 0
            hasID = bytes.count > 3 && bytes[2] == 1
            amounts = bytes.count > 3 ? Int(bytes[3]) : 0
            // Behind twelve bytes of head each subject has four, and each of its terms 39.
            terms = max(0, bytes.count - 12 - 4 * subjects) / 39
        }
    }

    private func decide(_ command: [[UInt8]]) -> [UInt8] {
        guard command.count > 4, let count = Int(String(decoding: command[2], as: UTF8.self)),
            command.count >= 5 + count
        else { return Array("-ERR no decision\r\n".utf8) }
        var keys = command[3..<3 + count]
        let indexes = command[3 + count]
        var operands = command[4 + count][...]
        let plans = command[(5 + count)...].map(Plan.init)
        var reply = Array("*\(indexes.count)\r\n".utf8)
        for index in indexes where plans.indices.contains(Int(index)) {
            let plan = plans[Int(index)]
            let id = plan.hasID ? Array(operands.prefix(22)) : []
            operands = operands.dropFirst(id.count)
            let amounts = Array(operands.prefix(6 * plan.amounts))
            operands = operands.dropFirst(amounts.count)
            let own = Array(keys.prefix(plan.subjects))
            keys = keys.dropFirst(own.count)
            let letter = decisions.isEmpty ? nil : decisions[asked.count % decisions.count]
            asked.append(AskedDecision(keys: own, plan: plan.bytes, id: known(id, plan), amounts: amounts))
            reply += Self.bulk(answer(plan, letter))
        }
        return reply
    }

    private func known(_ id: [UInt8], _ plan: Plan) -> [UInt8] {
        switch plan.operation {
        case .reserve, .renew, .settle, .release:
            guard id.count == 22 else { return id }
            let lease = id[..<8].reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
            let place = leases[lease] ?? leases.count
            leases[lease] = place
            let (given, lapses) = (Self.number(id[8..<14]), Self.number(id[14..<20]))
            let instants = plan.operation == .reserve ? Self.bytes(lapses - given) : Array(id[8..<20])
            return [UInt8(truncatingIfNeeded: place)] + instants + id[20...]
        case .check, .usage, .reset, nil: return id
        }
    }

    private func answer(_ plan: Plan, _ letter: UInt8?) -> [UInt8] {
        // Half a second behind a whole one: what is told in seconds a little later is the same.
        let wait = Self.bytes(3_599_500)
        let none = [UInt8](repeating: 0, count: 6)
        let asks = plan.operation == .check || plan.operation == .reserve
        switch (letter, plan.operation) {
        case (UInt8(ascii: "e"), _): return Array("!ERR an error".utf8)
        case (UInt8(ascii: "d"), _) where asks && plan.terms > 0: return head(1, 1, wait, wait, plan)
        case (UInt8(ascii: "f"), _) where asks && plan.terms > 0: return head(2, plan.terms, none, none, plan)
        case (UInt8(ascii: "c"), .reserve) where plan.terms > 0: return head(3, plan.terms, wait, wait, plan)
        case (UInt8(ascii: "u"), .settle): return head(4, 0, none, none, plan)
        case (UInt8(ascii: "r"), .settle), (UInt8(ascii: "r"), .usage): return head(5, 0, none, none, plan)
        case (UInt8(ascii: "t"), .settle): return head(6, 0, none, none, plan)
        case (_, .reserve), (_, .renew):
            return head(0, 0, Self.bytes(1_700_000_000_000), Self.bytes(1_700_000_060_000), plan)
        default: return head(0, 0, none, none, plan)
        }
    }

    private func head(_ status: UInt8, _ decider: Int, _ retry: [UInt8], _ least: [UInt8], _ plan: Plan) -> [UInt8] {
        var bytes = [status, UInt8(truncatingIfNeeded: decider), 0] + retry + least
        for term in 0..<plan.terms {
            let flags: UInt8 =
                switch status {
                case 0: plan.operation == .reserve ? 16 : 8
                case 1, 3: term + 1 == decider ? 1 : 0
                case 2: term + 1 == decider ? 5 : 0
                default: 0
                }
            bytes += Self.bytes(asked.count + term) + Self.bytes(7_199_500) + [flags]
        }
        return bytes
    }

    private static func bytes(_ number: Int) -> [UInt8] {
        (0..<6).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reversed().reduce(0) { $0 << 8 | Int($1) } }
}

// MARK: - Connections

extension NotingRedis {
    /// Listens on a Unix socket of the event loop's; called there.
    static func listen(
        on path: String, eventLoop: any EventLoop, _ redis: NIOLoopBound<NotingRedis>
    ) -> EventLoopFuture<any Channel> {
        ServerBootstrap(group: eventLoop)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(NotingHandler(redis.value))
                }
            }
            .bind(unixDomainSocketPath: path)
    }
}

/// Commands in, answers out.
private final class NotingHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let redis: NotingRedis
    private var input: [UInt8] = []

    init(_ redis: NotingRedis) { self.redis = redis }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        input += Array(unwrapInboundIn(data).readableBytesView)
        var answers: [UInt8] = []
        while let command = takeCommand() { answers += redis.answer(command) }
        if !answers.isEmpty { context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: answers)), promise: nil) }
    }

    /// Takes a whole command off; nil where there is none.
    private func takeCommand() -> [[UInt8]]? {
        var place = 0
        guard let count = number(behind: UInt8(ascii: "*"), at: &place) else { return nil }
        var words: [[UInt8]] = []
        for _ in 0..<count {
            guard let length = number(behind: UInt8(ascii: "$"), at: &place), place + length + 2 <= input.count else {
                return nil
            }
            words.append(Array(input[place..<place + length]))
            place += length + 2
        }
        input.removeFirst(place)
        return words
    }

    private func number(behind mark: UInt8, at place: inout Int) -> Int? {
        guard place < input.count, input[place] == mark,
            let end = input[place...].firstIndex(of: UInt8(ascii: "\r")), end + 1 < input.count
        else { return nil }
        defer { place = end + 2 }
        return Int(String(decoding: input[place + 1..<end], as: UTF8.self))
    }
}
