import ArgumentParser
import FoundationEssentials
import RateLimitCore

/// What `explain --call` asks: the body of a check or a reserve, which is sent as a dry run.
struct TriedCall: Equatable {
    /// The members of a call that both routes read, `user` apart.
    private static let common = [
        "cost", "model", "provider", "labels", "groups", "quotas", "input_tokens", "output_tokens",
        "cache_read_input_tokens", "cache_write_input_tokens", "reasoning_tokens", "audio_input_tokens",
        "image_input_tokens", "audio_output_tokens", "image_output_tokens", "usage", "usageMetadata", "usage_metadata",
        "cost_micros", "candidates",
    ]

    /// Where it is sent.
    let uri: String
    /// What is sent there.
    let body: String

    /// Reads the body of a call.
    ///
    /// - Parameters:
    ///   - user: who calls. Where the call names a user too, it must be the same one.
    ///   - reserves: whether it is a reserve's body; else it is a check's.
    init(_ text: String, of user: SubjectID, reserves: Bool) throws(ValidationError) {
        let accepted = Self.common + [reserves ? "ttl" : "request_id"]
        let bytes = Data(text.utf8)
        let members: [String: Anything]
        do {
            members = try JSONDecoder().decode([String: Anything].self, from: bytes)
        } catch {
            throw ValidationError(
                "cannot use --call: it is no JSON object; accepted is one as "
                    + #"'{"model":"gpt-4o","input_tokens":1200}'"#)
        }
        let known = accepted + ["user", "dry_run"]
        if let unknown = members.keys.sorted().first(where: { !known.contains($0) }) {
            let nearest = nearestName(to: unknown, among: accepted).map { ", did you mean \($0)?" } ?? ";"
            throw ValidationError(
                "cannot use --call: a \(reserves ? "reserve" : "check") has no member \(printable(unknown))\(nearest) "
                    + "Accepted are \(accepted.joined(separator: ", "))")
        }
        if members["user"] != nil, (try? JSONDecoder().decode(Named.self, from: bytes))?.user != user.text {
            throw ValidationError("cannot use --call: its user is not the one that is explained; leave it out")
        }
        // Of a repeated member the daemon takes the last, so the numbers of the call stay as they were written.
        guard let start = text.firstIndex(of: "{"), let end = text.lastIndex(of: "}") else {
            preconditionFailure("a JSON object has its braces")
        }
        let inner = text[text.index(after: start)..<end]
        let separator = members.isEmpty ? "" : ","
        body = "{\(inner)\(separator)\"user\":\(user.jsonText),\"dry_run\":true}"
        uri = reserves ? "/v1/reserve?verbose=1" : "/v1/check?verbose=1"
    }

    /// A member's value, whatever it is: the daemon says what is wrong with it.
    private struct Anything: Decodable {
        init(from decoder: any Decoder) {}
    }

    private struct Named: Decodable {
        var user: String
    }
}
