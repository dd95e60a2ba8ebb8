package import Foundation
import HistoryChecker

/// The limits under which calls are made: of each user, of a team, of a tenant and of all; of requests, tokens, spend and
/// calls under way; in windows that slide, in calendars and in lifetimes; some with a window for each session or model.
package enum CallLimits {
    /// Whose windows a history is about.
    package enum Kind: Sendable {
        case user
        case team
        /// All who say a value of the label `tenant`: that value's window is the only one.
        case tenant
        /// All who name a model, for as long as that is the one that is named.
        case all
    }

    static let requests = 80
    static let windowSeconds = 2
    /// How many models are named one after the other. Each has limits of all of its own, so that their histories end; by
    /// the time that one is named again its windows are long empty.
    static let models = 8
    /// What a token costs, in micro-dollars.
    static let tokenPrice = 2

    /// What calls say of their session. A user may have more of them than these: none is forgotten.
    static let sessions = ["a", "b"]
    private static let mostSessions = 5

    /// The places of a subject's windows are those of the names here, each a limit's and behind it the value of which the
    /// window is; what is named behind a model has its number there.
    static func names(_ kind: Kind) -> [String] {
        switch kind {
        case .user: ["requests", "tokens", "calls", "day"] + sessions.map { "session \(session($0))" }
        case .team:
            ["team-tokens", "team-calls", "team-life"] + (0..<models).map { "team-model model=\(model($0))" }
        case .tenant: ["tenant"]
        case .all: ["all-requests", "all-spend"]
        }
    }

    /// A calendar keeps all that is charged until its end, and a lifetime until it has been idle for a day: no history
    /// reaches either.
    static func contract(_ kind: Kind) -> CallContract {
        let endless = CallContract.Window.sliding(microseconds: 86_400_000_000)
        switch kind {
        case .user:
            return CallContract(
                windows: [
                    .sliding(microseconds: windowSeconds * 1_000_000), .sliding(microseconds: 1_000_000), .concurrency,
                    endless,
                ] + sessions.map { _ in .sliding(microseconds: 2_000_000) })
        case .team:
            let ofModels = Array(repeating: CallContract.Window.sliding(microseconds: 2_000_000), count: models)
            return CallContract(windows: [.sliding(microseconds: 3_000_000), .concurrency, endless] + ofModels)
        case .tenant: return CallContract(windows: [.sliding(microseconds: 2_000_000)])
        case .all: return CallContract(windows: [.sliding(microseconds: 2_000_000), .sliding(microseconds: 3_000_000)])
        }
    }

    /// The place of a limit, by its name in an answer and the values of which its window is said to be there, among the
    /// windows of somebody.
    static func window(named name: String, values: String?, of subject: String, _ kind: Kind) -> Int? {
        switch kind {
        case .all: names(kind).firstIndex(of: String(name.prefix { !$0.isNumber }))
        case .tenant: values == "label:tenant=\(subject)" ? names(kind).firstIndex(of: name) : nil
        case .user, .team: names(kind).firstIndex(of: values.map { "\(name) \($0)" } ?? name)
        }
    }

    /// How an answer says of which session a window is.
    static func session(_ session: String) -> String { "label:session=\(session)" }

    /// The name of a model that has limits of all.
    static func model(_ number: Int) -> String { "model\(number % models)" }

    /// The zone in which it is about noon, so that no calendar ends during a run of less than half a day.
    package static func zone(at date: Date = Date()) -> String {
        let hour = Int(date.timeIntervalSince1970) / 3_600 % 24
        // Of Etc/GMT+5 the clocks are five hours behind UTC.
        let behind = hour - 12
        return behind == 0 ? "UTC" : "Etc/GMT\(behind > 0 ? "+" : "-")\(abs(behind))"
    }

    /// For how long a run may last, that no calendar ends in it.
    static let longestRunSeconds = 10.5 * 3_600

    package static func file() -> String {
        let all = (0..<models).map { number in
            let match = "match: {model: \(model(number))}"
            return """
                  - {name: all-requests\(number), per: global, unit: requests, quota: 30, window: 2s, \(match)}
                  - {name: all-spend\(number), per: global, unit: spend, quota: 400, window: 3s, \(match)}
                """
        }
        let priced = "match: {model: \"model*\"}"
        return """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 300, window: 1s}
              - {name: calls, per: user, unit: concurrency, quota: 8}
              - {name: day, per: user, unit: spend, quota: 250, window: {calendar: day, time_zone: \(zone())}, \(priced)}
              - {name: team-tokens, per: group, unit: tokens, quota: 700, window: 3s}
              - {name: team-calls, per: group, unit: concurrency, quota: 12}
              - {name: team-life, per: group, unit: spend, quota: 450, window: {lifetime: true, idle: 1d}, \(priced)}
              - name: session
                per: [user, label:session]
                unit: tokens
                quota: 45
                window: 2s
                max_values: \(mostSessions)
              - {name: team-model, per: [group, model], unit: tokens, quota: 80, window: 2s}
              - {name: tenant, per: label:tenant, unit: requests, quota: 22, window: 2s}
            \(all.joined(separator: "\n"))
            prices:
              unknown_model: deny
              models:
                "model*": {input: 0, output: \(tokenPrice)000000}
            """
    }
}
