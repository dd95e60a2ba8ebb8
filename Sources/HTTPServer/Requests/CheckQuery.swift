import RateLimitCore

/// Reads the query of `/v1/check?user=<text>&cost=1`. Other parameters are ignored; of a repeated one the last counts.
enum CheckQuery {
    /// The check that `query` asks for; nil where it names no user.
    static func read(_ query: UnsafeRawBufferPointer) throws(RequestError) -> CheckRequest? {
        var hasOtherParameters = false
        return try read(query, hasOtherParameters: &hasOtherParameters)
    }

    /// Reads a query, and notes where it has other parameters besides.
    static func read(
        _ query: UnsafeRawBufferPointer, hasOtherParameters: inout Bool
    ) throws(RequestError) -> CheckRequest? {
        var user: SubjectID?
        var cost = 1
        var start = 0
        while start < query.count {
            let end = query[start...].firstIndex(of: 0x26) ?? query.count
            let equals = query[start..<end].firstIndex(of: 0x3d) ?? end
            let name = UnsafeRawBufferPointer(rebasing: query[start..<equals])
            let value = UnsafeRawBufferPointer(rebasing: query[min(equals + 1, end)..<end])
            switch Name(name) {
            case .user:
                user = try decoded(value) { text in SubjectID(text) }
                guard user != nil else { throw .invalidUser }
            case .cost:
                guard let value = try decoded(value, { text in decimalCost(text) }) else { throw .invalidCost }
                cost = value
            case nil: hasOtherParameters = true
            }
            start = end + 1
        }
        return user.map { CheckRequest(user: $0, cost: cost) }
    }

    private enum Name {
        case user
        case cost

        /// Nil for a parameter that is ignored, as is one whose name is encoded wrongly.
        init?(_ text: UnsafeRawBufferPointer) {
            if text.equals("user") {
                self = .user
            } else if text.equals("cost") {
                self = .cost
            } else if text.contains(0x25), let name = QueryParameters.decoded(text, { Self(plain: $0) }) ?? nil {
                self = name
            } else {
                return nil
            }
        }

        private init?(plain text: UnsafeRawBufferPointer) {
            if text.equals("user") { self = .user } else if text.equals("cost") { self = .cost } else { return nil }
        }
    }

    /// Gives `read` the value that an encoded one stands for.
    private static func decoded<Value>(
        _ value: UnsafeRawBufferPointer, _ read: (UnsafeRawBufferPointer) -> Value?
    ) throws(RequestError) -> Value? {
        guard let value = QueryParameters.decoded(value, read) else { throw .malformedQuery(Self.encoding) }
        return value
    }

    /// What is wrong with a value that cannot be decoded.
    static let encoding = "a percent sign needs two hexadecimal digits"
}
