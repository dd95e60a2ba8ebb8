/// A request to the daemon.
package struct DaemonRequest: Sendable {
    package enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case delete = "DELETE"
    }

    package var method: Method
    /// Path and query, encoded.
    package var uri: String
    /// A JSON text, or nil for a request without a body.
    package var body: String?
    /// Whether it does no more when it is sent twice, so that it may be sent again on another connection.
    package var isRepeatable: Bool

    package init(method: Method, uri: String, body: String? = nil, isRepeatable: Bool = false) {
        self.method = method
        self.uri = uri
        self.body = body
        self.isRepeatable = isRepeatable || method == .get
    }
}

/// The daemon's answer to one request.
package struct DaemonResponse: Sendable, Equatable {
    package var status: Int
    /// The body as text without the line end it may have; at most ``maximumBodyBytes`` bytes.
    package var body: String
    /// Those of ``handedOn`` that came.
    var headers: [String: String]

    /// The headers that say when to come again and how the quota stands.
    static let handedOn = [
        "Retry-After", "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    ]

    package static let maximumBodyBytes = 1 << 20

    package init(status: Int, body: String) {
        self.init(status: status, body: body, headers: [:])
    }

    init(status: Int, body: String, headers: [String: String]) {
        self.status = status
        self.body = body
        self.headers = headers
    }
}
