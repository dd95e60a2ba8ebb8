import TestSupport
import Testing

@testable import RateLimitCore

@Suite("A set of limits")
struct LimitSetTests {
    private func limit(
        _ name: String, _ scope: LimitScope = .user, _ unit: LimitUnit = .requests, values: [CallValue] = [],
        missing: MissingValue = .ignore, maximumValues: Int? = nil, matches: [LabelMatch] = [], warnAt: [Int] = []
    ) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: scope, values: values, missing: missing,
            maximumValues: maximumValues, unit: unit, quota: 10,
            window: unit == .concurrency ? nil : .sliding(milliseconds: 1000), matches: matches, warnAtPerMille: warnAt)
    }

    @Test("applies limits without conditions to every call, in their order")
    func unconditional() throws {
        let set = try LimitSet([limit("a"), limit("b"), limit("c")])
        #expect(Array(set.applicable(to: .none)) == [0, 1, 2])
        #expect(Array(LimitSet.empty.applicable(to: .none)) == [])
    }

    @Test("applies a limit only to calls that meet each of its conditions")
    func conditions() throws {
        let set = try LimitSet([
            limit("model", matches: [LabelMatch(.model, anyOf: [.prefix("gpt-4")])]),
            limit("all"),
            limit(
                "both",
                matches: [
                    LabelMatch(.provider, anyOf: [.exact("openai"), .exact("azure")]),
                    LabelMatch(.label("route"), anyOf: [.exact("/v1/chat")]),
                ]),
        ])
        func applied(_ model: String?, _ provider: String?, _ route: String?) -> [Int] {
            let labels = route.map { ["route": $0] } ?? [:]
            return Array(set.applicable(to: CallAttributes(model: model, provider: provider, labels: labels)))
        }
        #expect(applied(nil, nil, nil) == [1])
        #expect(applied("gpt-4", nil, nil) == [0, 1])
        #expect(applied("gpt-4o", nil, nil) == [0, 1])
        #expect(applied("gpt-", nil, nil) == [1])
        #expect(applied("GPT-4", nil, nil) == [1])
        #expect(applied(nil, "azure", nil) == [1])
        #expect(applied(nil, "azure", "/v1/chat") == [1, 2])
        #expect(applied(nil, "azur", "/v1/chat") == [1])
        #expect(applied("gpt-4o", "openai", "/v1/chat") == [0, 1, 2])
        #expect(applied("gpt-4o", "openai", "/v1/chat/") == [0, 1])
    }

    @Test("leaves out limits by values that a call does not say, and an empty text says nothing")
    func values() throws {
        let set = try LimitSet([
            limit("session", values: [.label("session")]), limit("plain"), limit("teams", values: [.group]),
            limit("two", .group, values: [.model, .provider]),
            limit("both", .global, values: [.model], matches: [LabelMatch(.label("route"), anyOf: [.exact("x")])]),
        ])
        func applied(_ model: String?, _ provider: String?, _ labels: [String: String]) -> [Int] {
            Array(set.applicable(to: CallAttributes(model: model, provider: provider, labels: labels)))
        }
        #expect(applied(nil, nil, [:]) == [1, 2])
        #expect(applied("", "", ["session": "", "route": "x"]) == [1, 2])
        #expect(applied("m", nil, ["session": "a"]) == [0, 1, 2])
        #expect(applied("m", "p", ["route": "x"]) == [1, 2, 3, 4])
        #expect(applied(nil, "p", ["route": "x"]) == [1, 2])
        #expect(set.lacking(in: .none).isEmpty)
    }

    @Test("says what a call lacks that its limits deny it for, where it meets their conditions")
    func lacking() throws {
        let set = try LimitSet([
            limit("a", values: [.label("s"), .model], missing: .deny),
            limit(
                "b", .global, values: [.provider], missing: .deny, matches: [LabelMatch(.model, anyOf: [.prefix("m")])]),
            limit("c", values: [.label("t")]),
        ])
        #expect(set.lacking(in: .none) == [LackingValue(limitIndex: 0, value: .model)])
        #expect(
            set.lacking(in: CallAttributes(model: "m")) == [
                LackingValue(limitIndex: 0, value: .label("s")), LackingValue(limitIndex: 1, value: .provider),
            ])
        #expect(set.lacking(in: CallAttributes(model: "x", labels: ["s": "1"])).isEmpty)
        #expect(set.lacking(in: CallAttributes(model: "m", provider: "p", labels: ["s": "1"])).isEmpty)
        #expect(Array(set.applicable(to: CallAttributes(model: "m"))) == [])
    }

    @Test("refuses two limits that share keys and bound their number otherwise")
    func otherMaximum() throws {
        let limits = try [
            limit("a", values: [.model, .group], maximumValues: 5),
            limit("b", values: [.group, .model], maximumValues: 6),
        ]
        #expect(throws: LimitSetError.otherMaximum(0, 1)) { try LimitSet(limits) }
        let others = try [
            limits[0], limit("b", values: [.model], maximumValues: 6), limit("c", .group, values: [.model]),
        ]
        #expect(try LimitSet(others).limits.map(\.maximumValues) == [5, 6, 1_000])
        #expect(try limit("d", .global, values: [.model], maximumValues: 6).maximumValues == nil)
        #expect(try limit("d", maximumValues: 6).maximumValues == nil)
    }

    @Test("compares byte for byte, also where Unicode sees one character")
    func bytes() {
        #expect(!LabelMatch.Pattern.exact("e\u{301}").matches("\u{e9}"))
        #expect(LabelMatch.Pattern.prefix("e").matches("e\u{301}"))
        #expect(LabelMatch.Pattern.prefix("").matches(""))
        #expect(!LabelMatch.Pattern.exact("").matches("a"))
    }

    @Test("refuses more than 64, two of one name, and two of one id")
    func refused() throws {
        let most = try (0..<64).map { try limit("limit-\($0)") }
        #expect(Array(try LimitSet(most).applicable(to: .none)) == Array(0..<64))
        let tooMany = try most + [limit("one-more")]
        #expect(throws: LimitSetError.tooMany) { try LimitSet(tooMany) }
        let same = try [limit("a"), limit("b"), limit("a", .group)]
        #expect(throws: LimitSetError.sameName(0, 2)) { try LimitSet(same) }
    }

    @Test("tells two names of one hash apart")
    func sameHash() throws {
        let limits = try [limit("a"), limit("costarring"), limit("liquid")]
        #expect(limits[1].id == limits[2].id)
        #expect(throws: LimitSetError.sameID(1, 2)) { try LimitSet(limits) }
    }

    @Test("finds the limit that spend_limit_micros sets")
    func userSpend() throws {
        #expect(try LimitSet([limit("a"), limit("b", .user, .spend)]).userSpendIndex == 1)
        #expect(try LimitSet([limit("a", .user, .spend), limit("b", .user, .spend)]).userSpendIndex == nil)
        #expect(try LimitSet([limit("a", .user, .spend), limit("spend", .user, .spend)]).userSpendIndex == 1)
        #expect(try LimitSet([limit("a", .group, .spend), limit("b", .global, .spend)]).userSpendIndex == nil)
        #expect(try LimitSet([limit("spend", .group, .spend), limit("b", .user, .spend)]).userSpendIndex == 1)
        #expect(try LimitSet([limit("spend", .user, .requests)]).userSpendIndex == nil)
        let sessions = try limit("spend", .user, .spend, values: [.label("session")])
        #expect(try LimitSet([sessions]).userSpendIndex == nil, "a user's budget is none of each session")
        #expect(try LimitSet([sessions, limit("b", .user, .spend)]).userSpendIndex == 1)
    }

    @Test("finds the limit of a group's own that spend_limit_micros sets, where none per user counts spend")
    func groupSpend() throws {
        #expect(try LimitSet([limit("a", .group, .spend), limit("b", .global, .spend)]).groupSpendIndex == 0)
        #expect(try LimitSet([limit("a", .group, .spend), limit("spend", .group, .spend)]).groupSpendIndex == 1)
        #expect(try LimitSet([limit("a", .group, .spend), limit("b", .group, .spend)]).groupSpendIndex == nil)
        #expect(try LimitSet([limit("a", .group, .spend), limit("b", .user, .spend)]).groupSpendIndex == nil)
        #expect(try LimitSet([limit("a", .group, .requests)]).groupSpendIndex == nil)
    }

    @Test("knows the labels that its limits look at")
    func labelNames() throws {
        let set = try LimitSet([
            limit(
                "a",
                matches: [LabelMatch(.label("route"), anyOf: [.exact("x")]), LabelMatch(.model, anyOf: [.prefix("")])]),
            limit("b", matches: [LabelMatch(.label("team"), anyOf: [.exact("x")])]), limit("c"),
            limit("d", values: [.label("session"), .provider]),
        ])
        #expect(set.labelNames == ["route", "team", "session"])
    }

    @Test("finds a limit by its name")
    func index() throws {
        let set = try LimitSet([limit("a"), limit("b")])
        #expect(set.index(of: try #require(LimitName("b"))) == 1)
        #expect(set.index(of: try #require(LimitName("c"))) == nil)
    }

    @Test("warns at the highest share that is reached")
    func warnings() throws {
        let limit = try limit("a", warnAt: [950, 800])
        #expect(limit.warnAtPerMille == [800, 950])
        #expect(limit.warning(used: 799, quota: 1000) == nil)
        #expect(limit.warning(used: 800, quota: 1000) == 800)
        #expect(limit.warning(used: 950, quota: 1000) == 950)
        #expect(limit.warning(used: 2, quota: 3) == nil)
        #expect(limit.warning(used: 0, quota: 0) == nil)
        #expect(limit.warning(used: .max, quota: 1_000_000_000_000) == 950)
    }
}

@Suite("What a call says about itself")
struct CallAttributesTests {
    private let user = SubjectID(high: 1, low: 2)

    @Test("is kept as it is up to its bounds")
    func bounds() {
        let labels = Dictionary(
            uniqueKeysWithValues: (0..<40).map {
                (String(repeating: "n", count: 62) + "\($0 + 10)", String(repeating: "v", count: 256))
            })
        let groups = (0..<128).map { SubjectID(high: 0, low: UInt64($0)) }
        let text = String(repeating: "m", count: 256)
        let call = CallAttributes(model: text, provider: text, labels: labels, groups: groups)
        #expect(call.model == text && call.provider == text && call.labels == labels)
        #expect(call.value(ofLabel: "other") == nil)
        #expect(call.groups == groups)
    }

    @Test(
        "is cut where it is too long, so that no limit and no price sees that",
        arguments: [300, 257, 258, 70_000], ["m", "é", "語", "🚀"])
    func cut(_ count: Int, _ character: String) {
        for offset in 0..<4 {
            let whole = String(repeating: "a", count: offset) + String(repeating: character, count: count)
            let call = CallAttributes(model: whole, provider: whole, labels: ["x": whole])
            guard let kept = call.model else {
                Issue.record("nothing is kept")
                return
            }
            #expect(call.provider == kept && call.value(ofLabel: "x") == kept)
            #expect((257...CallAttributes.maximumKeptLength).contains(kept.utf8.count) && whole.hasPrefix(kept))
            // All that a file can say of it: whole names and beginnings, of 256 bytes at most.
            for length in [0, 1, 100, 255, 256] {
                let bytes = Array(whole.utf8.prefix(length))
                guard let text = String(validating: bytes, as: UTF8.self) else { continue }
                for pattern in [LabelMatch.Pattern.exact(text), .prefix(text)] {
                    #expect(pattern.matches(kept) == pattern.matches(whole), "\(pattern)")
                }
            }
        }
    }

    @Test("has no labels that no limit can name")
    func labelNames() {
        let long = String(repeating: "n", count: 65)
        #expect(CallAttributes(labels: ["": "a", long: "a", "team": "b"]).labels == ["team": "b"])
    }

    @Test("has the first 128 of its groups, one that is named twice once")
    func groups() {
        let other = SubjectID(high: 3, low: 4)
        #expect(CallAttributes(groups: [user, other, user]).groups == [user, other])
        let many = (0..<300).map { SubjectID(high: 0, low: UInt64($0 / 2)) }
        #expect(CallAttributes(groups: many).groups == (0..<128).map { SubjectID(high: 0, low: UInt64($0)) })
    }
}
