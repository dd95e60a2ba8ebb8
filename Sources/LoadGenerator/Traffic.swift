/// Whose checks a load sends, and at what cost.
public struct CheckMix: Sendable {
    /// Users with budget left, as far as the load cares.
    public let users: Users
    /// Cost of every check, 1 to 1,000,000.
    public let cost: Int
    /// What else each body says, as JSON members with a comma before each.
    public let members: String
    /// Of a hundred checks, how many go to the one denied user.
    public let deniedSharePercent: Int
    /// The user whose budget `exhaustDeniedUser` uses up.
    public let deniedUser: Users

    /// - Parameters:
    ///   - cost: 1 to 1,000,000.
    ///   - members: what else each body says, such as `,"model":"gpt-4o"`.
    ///   - deniedSharePercent: 0 to 100; where it is above 0, use up the user's budget first.
    ///   - seed: of the denied user; anything but the seed of the users.
    public init(
        users: Users, cost: Int = 1, members: String = "", deniedSharePercent: Int = 0, deniedSeed: UInt64 = 0x0de_71ed
    ) throws(LoadError) {
        guard (1...1_000_000).contains(cost) else {
            throw .invalid(option: "cost", value: String(cost), accepted: "1 to 1,000,000")
        }
        guard (0...100).contains(deniedSharePercent) else {
            throw .invalid(option: "denied share", value: String(deniedSharePercent), accepted: "0 to 100 percent")
        }
        self.users = users
        self.cost = cost
        self.members = members
        self.deniedSharePercent = deniedSharePercent
        deniedUser = try Users(count: 1, order: .roundRobin, seed: deniedSeed)
    }
}

/// A check script that Redis has loaded, and the policy it is called with.
public struct CheckScript: Sendable {
    /// What SCRIPT LOAD answered: 40 hexadecimal digits.
    public let sha: String
    /// Quota of a user in a window.
    public let limit: Int
    /// Length of the window.
    public let windowMilliseconds: Int
    /// What stands before the user in a key, with the colon.
    public let keyPrefix: String

    /// A script as `RedisSession.load(script:)` names it, with limit and window (milliseconds) of every call.
    public init(sha: String, limit: Int, windowMilliseconds: Int, keyPrefix: String = "llm-rate:") {
        self.sha = sha
        self.limit = limit
        self.windowMilliseconds = windowMilliseconds
        self.keyPrefix = keyPrefix
    }

    /// What follows on the key, as `decide.lua` says it: that the check has the first plan, its one amount, and the plan of
    /// one sliding window of the limit `requests`.
    func arguments(cost: Int) -> [[UInt8]] {
        func number(_ value: Int, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        // Leases that it finds lapsed are remembered for an hour.
        let head = [1, 1, 0, 1] + number(0, 4) + number(3_600_000, 4) + number(1, 4)
        let window = number(0x5281_8a05, 4) + [0, 0] + number(windowMilliseconds, 5) + number(0, 15)
        return [[0], number(cost, 6), head + window + number(limit, 6) + [1] + number(0, 6)]
    }
}

/// What a load sends, and how its answers are read.
public enum Traffic: Sendable {
    /// `POST /v1/check` with keep-alive, as a gateway sends it.
    case httpChecks(CheckMix)
    /// A reservation of 1,000 tokens, and its settlement with 800 once it is answered; both together count as one check.
    /// The lease of every reservation has so many bytes.
    case httpReservations(CheckMix, leaseLength: Int)
    /// One EVALSHA of the check script for each check, straight to Redis.
    case scriptChecks(CheckMix, script: CheckScript)
    /// EVALSHA of a script that takes nothing; any answer but an error counts as allowed.
    case script(sha: String)
    /// PING to Redis.
    case ping
    /// `ShouldRateLimit` by gRPC, as Envoy sends it, of descriptors with the user in one entry. The pipeline's depth is that of
    /// streams.
    case rateLimitService(CheckMix)

    var mix: CheckMix? {
        switch self {
        case .httpChecks(let mix), .httpReservations(let mix, _), .scriptChecks(let mix, _), .rateLimitService(let mix):
            mix
        case .script, .ping: nil
        }
    }

    /// How an answer is told from the next, and what it means.
    var answers: AnswerFormat {
        switch self {
        case .httpChecks, .httpReservations: .http
        case .scriptChecks: .redisCheck
        case .script, .ping: .redisAny
        case .rateLimitService: .rateLimitService
        }
    }

    /// What follows on an allowed answer, where something does.
    var followUp: FollowUp? {
        if case .httpReservations(_, let length) = self { FollowUp(leaseLength: length) } else { nil }
    }

    /// The request, all but the user.
    var template: RequestTemplate {
        switch self {
        case .httpChecks(let mix):
            return .httpCheck(cost: mix.cost, members: mix.members)
        case .httpReservations: return .httpReservation
        case .scriptChecks(let mix, let script):
            let key = script.keyPrefix + RequestTemplate.hole
            let words = ["EVALSHA", script.sha, "1", key].map { Array($0.utf8) }
            return RequestTemplate(command: words + script.arguments(cost: mix.cost))
        case .script(let sha):
            return RequestTemplate(command: ["EVALSHA", sha, "0"])
        case .ping:
            return RequestTemplate(command: ["PING"])
        case .rateLimitService: return .shouldRateLimit
        }
    }
}

/// A request with a hole for the user. Every request of a load has the same length, so sending one is two copies.
public struct RequestTemplate: Sendable {
    /// Stands for the user in the texts below.
    static let hole = String(repeating: "_", count: Users.textLength)

    let bytes: [UInt8]
    /// Where the user goes; nil where the request names none.
    let userOffset: Int?
    /// Where the number of the request's stream goes, in four bytes each time.
    let streamOffsets: [Int]
    /// What a connection begins with.
    let preface: [UInt8]

    init(bytes: [UInt8], streamOffsets: [Int] = [], preface: [UInt8] = []) {
        self.bytes = bytes
        self.streamOffsets = streamOffsets
        self.preface = preface
        userOffset = firstOffset(of: Self.hole, in: bytes)
    }

    /// A Redis command.
    init(command: [[UInt8]]) {
        var bytes = Array("*\(command.count)\r\n".utf8)
        for argument in command { bytes += Array("$\(argument.count)\r\n".utf8) + argument + [0x0d, 0x0a] }
        self.init(bytes: bytes)
    }

    /// A Redis command of texts.
    init(command: [String]) { self.init(command: command.map { Array($0.utf8) }) }

    /// A check over HTTP.
    static func httpCheck(cost: Int, members: String = "") -> RequestTemplate {
        httpPost("/v1/check", #"{"user":"\#(hole)","cost":\#(cost)\#(members)}"#)
    }

    /// A reservation over HTTP.
    static let httpReservation = httpPost("/v1/reserve", #"{"user":"\#(hole)","input_tokens":1000}"#)

    /// The settlement of a reservation over HTTP.
    static func httpSettlement(lease: String) -> RequestTemplate {
        httpPost("/v1/settle", #"{"user":"\#(hole)","lease":"\#(lease)","input_tokens":800}"#)
    }

    private static func httpPost(_ path: String, _ body: String) -> RequestTemplate {
        let lines = [
            "POST \(path) HTTP/1.1", "Host: llm-rate-limit", "Content-Type: application/json",
            "Content-Length: \(body.utf8.count)",
        ]
        return RequestTemplate(bytes: Array((lines.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8))
    }

    /// The request of one user, for the preparation.
    func filled(user: ArraySlice<UInt8>) -> [UInt8] {
        var request = bytes
        if let userOffset { request.replaceSubrange(userOffset..<(userOffset + Users.textLength), with: user) }
        return request
    }
}

/// The request that settles what an answer has given a lease for.
struct FollowUp: Sendable {
    /// What stands before a lease in an answer.
    static let mark: StaticString = #""lease":""#

    let leaseLength: Int
    let template: RequestTemplate
    /// Where the lease goes.
    let leaseOffset: Int

    init(leaseLength: Int) {
        self.leaseLength = leaseLength
        let hole = String(repeating: "~", count: leaseLength)
        template = .httpSettlement(lease: hole)
        leaseOffset = firstOffset(of: hole, in: template.bytes) ?? 0
    }

    /// Where in an answer the lease stands; nil where there is none, or one of another length.
    func lease(in answer: UnsafeBufferPointer<UInt8>) -> Range<Int>? {
        guard let found = firstOffset(of: Self.mark, in: answer, answer.indices) else { return nil }
        let start = found + Self.mark.utf8CodeUnitCount
        let end = start + leaseLength
        return end < answer.count && answer[end] == UInt8(ascii: "\"") ? start..<end : nil
    }
}

/// Where a text first stands in bytes; nil where it does not.
func firstOffset(of text: String, in bytes: [UInt8]) -> Int? {
    let wanted = Array(text.utf8)
    guard bytes.count >= wanted.count else { return nil }
    return (0...(bytes.count - wanted.count)).first { bytes[$0...].starts(with: wanted) }
}
