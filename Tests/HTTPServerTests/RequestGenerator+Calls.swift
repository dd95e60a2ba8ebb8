import RateLimitCore
import RateLimitService

@testable import HTTPServer

/// Bodies of calls.
extension RequestGenerator {
    /// What a gateway may say of a call, and what it should not: members in any order, some of them twice.
    mutating func callBody() -> String {
        var members = chance(92) ? ["\"user\":\(chance(95) ? "\"\(user())\"" : value())"] : []
        if chance(75) { members.append("\"lease\":\(chance(90) ? "\"\(lease())\"" : value())") }
        for _ in 0..<pick([0, 1, 2, 2, 3, 5, 9]) { members.append(member()) }
        if chance(10), let repeated = members.randomElement(using: &random) { members.append(repeated) }
        if chance(20) { members.shuffle(using: &random) }
        let space = chance(85) ? "" : pick([" ", "\n", "\t", "\r\n  "])
        let end = chance(97) ? "" : pick(["x", ",", "}", "\0"])
        return (chance(98) ? "" : "\u{feff}") + space + "{" + space + members.joined(separator: ",\(space)") + "}" + end
    }

    /// Mostly one of each kind that is known, at a value that is mostly of its kind.
    private mutating func member() -> String {
        let counts = [
            "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "cost_micros",
            "cost",
            "ttl",
        ]
        let texts = ["model", "provider", "request_id"]
        switch pick(Array(0..<9)) {
        case 0, 1: return "\(name(pick(counts))):\(chance(85) ? number() : value())"
        case 2, 3: return "\(name(pick(texts))):\(chance(85) ? text() : value())"
        case 4: return "\(name("labels")):\(chance(85) ? object(["team", "route", "x"], of: { $0.text() }) : value())"
        case 5:
            let groups = (0..<pick([0, 1, 3])).map { _ in chance(90) ? text() : value() }
            return "\(name("groups")):\(chance(85) ? "[\(groups.joined(separator: ","))]" : value())"
        case 7: return chance(50) ? "\(name("dry_run")):\(chance(85) ? "true" : value())" : candidates()
        case 6: return "\(name(pick(["usage", "usageMetadata", "usage_metadata"]))):\(chance(85) ? usage() : value())"
        default: return "\(name(pick(["x", "user_id", "", "inputtokens", "modél"]))):\(value())"
        }
    }

    private mutating func candidates() -> String {
        let candidates = (0..<pick([0, 1, 2, 3, 17])).map { _ in
            chance(90) ? object(["model", "provider", "x"], of: { $0.text() }) : value()
        }
        return "\(name("candidates")):\(chance(85) ? "[\(candidates.joined(separator: ","))]" : value())"
    }

    private mutating func usage() -> String {
        let names = [
            "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens",
            "promptTokenCount", "candidates_token_count", "total_tokens",
        ]
        guard chance(50) else { return object(names, of: { $0.number() }) }
        let details = object(["cached_tokens", "ephemeral_5m_input_tokens", "x"], of: { $0.number() })
        let container = pick(["prompt_tokens_details", "input_tokens_details", "cache_creation", "x"])
        return "{\(name(container)):\(details),"
            + object(names, of: { $0.number() }).dropFirst()
            .replacing(/^}/, with: "\"y\":1}")
    }

    private mutating func object(_ names: [String], of value: (inout Self) -> String) -> String {
        let members = (0..<pick([0, 1, 2, 3])).map { _ in
            "\(name(pick(names))):\(chance(90) ? value(&self) : self.value())"
        }
        return "{\(members.joined(separator: ","))}"
    }

    /// A name in quotes, now and then with an escape in it.
    private mutating func name(_ text: String) -> String {
        guard chance(6), let first = text.utf8.first else { return "\"\(text)\"" }
        let digits = String(first, radix: 16)
        return "\"\\u00\(digits.count < 2 ? "0" : "")\(digits)\(text.dropFirst())\""
    }

    private mutating func text() -> String {
        let texts = [
            "gpt-4o", "claude-sonnet-4-5-20250929", "openai", "x", "", "a\\nb", "\\u0067pt-4o", "\\ud83d\\ude00", "é",
            String(repeating: "m", count: 300),
        ]
        return chance(94) ? "\"\(pick(texts))\"" : pick([#""\ud83d""#, #""\q""#, "\"", "\"a\nb\""])
    }

    private mutating func number() -> String {
        chance(80)
            ? "\(Int.random(in: 0...5_000, using: &random))"
            : pick([
                "0", "1.0", "1e3", "1000000000000", "1000000000001", "-1", "01", "1.5", "-0", "999999999999999999",
                "+1",
            ])
    }

    /// Anything.
    private mutating func value() -> String {
        pick([
            "null", "null", "null", "true", "0", "-5", "1e400", "\"\"", "[]", "{}", "[null,{\"a\":[1]}]",
            "{\"user\":\"x\"}",
            "tru", "nul", "",
        ])
    }

    /// A lease's text, or nearly one.
    private mutating func lease() -> String {
        let owner = chance(70) ? SubjectID(user()) ?? someUser : SubjectID("alice@example.com") ?? someUser
        let attributes = CallAttributes(
            model: chance(60) ? "gpt-4o" : nil, labels: chance(20) ? ["team": "x"] : [:],
            groups: chance(20) ? [someUser] : [])
        let lease = Lease(
            of: owner, instants: .unknown, cost: 1, attributes: attributes, holdsNothing: chance(20),
            isHeldInGroups: chance(30), isGlobal: chance(30), using: &random)
        guard chance(8) else { return lease.text }
        return pick([String(lease.text.dropLast()), lease.text + "A", "x", "", "\\u0042" + lease.text.dropFirst()])
    }
}
