import LLMRateLimitClient

/// What the page Gateways shows of the client: a test compares it word by word.
enum ClientExample {
    private struct Model {
        var promptTokens = 900
        var completionTokens = 80
        var text = "an answer"
    }

    private static func askTheModel() async throws -> Model { Model() }

    // example:start
    static func answer(to user: String, _ client: RateLimitClient) async throws -> String {
        let call = Call(user: user, model: "gpt-4o")
        let reserved = try await client.reserve(call) { reservation in
            let answer = try await askTheModel()
            reservation.report(Usage(inputTokens: answer.promptTokens, outputTokens: answer.completionTokens))
            return answer.text
        }
        switch reserved {
        case .done(let text, _): return text
        case .denied(let decision): return "429, Retry-After: \(decision.retryAfterSeconds ?? 3_600)"
        }
    }
    // example:end
}
