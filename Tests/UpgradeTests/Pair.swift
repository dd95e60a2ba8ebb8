import FaultInjection
import Foundation
import TestSupport
import Testing

/// A daemon of each release on one Redis, under one limits file.
struct Pair {
    static let limits = """
        limits:
          - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
          - {name: day, per: user, unit: tokens.output, quota: 800, window: {calendar: day, time_zone: \(CallLimits.zone())}}
          - {name: calls, per: user, unit: concurrency, quota: 3}
          - {name: trial, per: user, unit: tokens, quota: 100, window: 1d, mode: shadow}
          - {name: session, per: [user, "label:session"], unit: requests, quota: 40, window: 1h}
          - {name: team, per: group, unit: spend, quota: $50, window: {calendar: month, time_zone: \(CallLimits.zone())}}
          - {name: team-week, per: group, unit: requests, quota: 500, window: {calendar: week, time_zone: \(CallLimits.zone())}}
          - {name: model, per: [group, model], unit: tokens, quota: 5000, window: 1h}
          - {name: all, per: global, unit: requests, quota: 100000, window: 1h}
        prices:
          models:
            m: {input: 1000000, output: 2000000}
        lease: {ttl: 60s, max_ttl: 1d, remember: 1h}
        """

    let redis: RedisServer
    private let folder: TemporaryFolder
    let daemons: [Daemon]
    let clients: [HTTPConnection]
    let admins: [HTTPConnection]

    /// - Parameters:
    ///   - releases: what the daemons run, in their order.
    ///   - settings: variables of both, without their `LLM_RATE_LIMIT_`.
    init(_ releases: [Release], _ settings: [String: String] = [:]) throws {
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        let limits = try folder.write(Self.limits, to: "limits.yaml")
        let all = ["LIMITS_FILE": limits, "REQUESTS": "200"].merging(settings) { $1 }
        self.redis = redis
        self.folder = folder
        daemons = try releases.map { try Daemon(redis: redis.url, all, program: $0.program) }
        clients = try daemons.map { try $0.connect() }
        admins = try daemons.map { try $0.connectAdmin() }
    }

    /// Sends a call to one of the daemons.
    func post(_ daemon: Int, _ route: String, _ members: String) throws -> HTTPResponse {
        try clients[daemon].request("POST", "/v1/\(route)", body: "{\(members)}")
    }

    /// A lease from one of them.
    func reserve(_ daemon: Int, _ members: String) throws -> String {
        let answer = try post(daemon, "reserve", members)
        return try #require(try answer.json["lease"] as? String, "\(answer.text)")
    }

    /// How each limit stands for a user as one daemon tells it: what is used, the quota, and the rule that gave it.
    func standing(_ daemon: Int, _ user: String, values: String = "model=m&label.session=s") throws -> [String: String]
    {
        let page = try clients[daemon].request("GET", "/v1/users/\(user)/usage?\(values)").json
        let limits = try #require(page["limits"] as? [[String: Any]])
        let told = limits.map { limit in
            let grant = (limit["grant"] as? [String: Any])?["amount"] ?? 0
            return (
                "\(limit["name"] ?? "") \(limit["group"] ?? "")",
                "\(limit["used"] ?? "") of \(limit["limit"] ?? ""), \(limit["rule"] ?? ""), granted \(grant)"
            )
        }
        return Dictionary(uniqueKeysWithValues: told)
    }

    /// How each limit stands by the word of both, which has to be the same; what a daemon remembers of budgets is told it
    /// within a moment.
    @discardableResult
    func agree(_ user: String) throws -> [String: String] {
        var standings: [[String: String]] = []
        let isSame = try eventually(within: 20) {
            standings = try daemons.indices.map { try standing($0, user) }
            return standings[0] == standings[1]
        }
        #expect(isSame && standings[0].count > 4, "\(standings)")
        return standings[0]
    }

    /// What is used of a limit, by the word of both.
    func used(_ limit: String, of user: String) throws -> Int? {
        try agree(user).first { $0.key.hasPrefix("\(limit) ") }.flatMap { Int($0.value.prefix { $0.isNumber }) }
    }
}
