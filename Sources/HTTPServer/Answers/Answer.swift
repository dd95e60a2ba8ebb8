import RateLimitCore

/// An answer off the hot path, ready to be written.
struct Answer {
    var status: HTTPStatus
    var contentType: StaticString = "application/json"
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    /// A JSON body with status 200.
    static func json(_ text: String, status: HTTPStatus = .ok) -> Answer {
        Answer(status: status, body: Array(text.utf8))
    }

    /// What is wrong, as problem details (RFC 9457).
    static func problem(_ error: RequestError) -> Answer {
        var headers: [(String, String)] = []
        if case .methodNotAllowed(let allowed) = error { headers.append(("Allow", allowed)) }
        return problem(error.status, error.detail, headers: headers)
    }

    /// What is wrong, as problem details; `type` is left out where the status says it all (`about:blank`).
    static func problem(
        _ status: HTTPStatus, _ detail: String, type: String? = nil, headers: [(name: String, value: String)] = []
    ) -> Answer {
        let type = type.map { "\"type\":\(jsonText($0))," } ?? ""
        let text =
            "{\(type)\"title\":\(jsonText(status.phrase)),\"status\":\(status.rawValue),\"detail\":\(jsonText(detail))}"
        return Answer(
            status: status, contentType: "application/problem+json", headers: headers, body: Array(text.utf8)
        )
    }

    /// Nobody can decide, and the failure mode is `closed`.
    static func closed(reason: String) -> Answer {
        problem(
            .serviceUnavailable, closedDetail(reason),
            type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            headers: [("Retry-After", "1")]
        )
    }

    static func closedDetail(_ reason: String) -> String {
        "No decision can be had (\(reason)), and the failure mode is closed."
    }
}

/// Milliseconds in whole seconds, rounded up: nobody who waits as told comes too early.
func wholeSeconds(_ milliseconds: Int) -> Int { (milliseconds + 999) / 1000 }

/// A text as a JSON string, quotes included.
func jsonText(_ text: some StringProtocol) -> String {
    var writer = ByteWriter()
    writer.write(json: String(text))
    return String(decoding: writer.bytes, as: UTF8.self)
}
