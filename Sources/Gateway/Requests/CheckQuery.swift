import RateLimitCore

/// Reads the query of `/v1/check?user=<uuid>&cost=1`. Other parameters are ignored; of a repeated one the last counts.
enum CheckQuery {
    /// The check that `query` asks for; nil where it names no user.
    static func read(_ query: UnsafeRawBufferPointer) throws(RequestError) -> CheckRequest? {
        var saysMore = false
        return try read(query, saysMore: &saysMore)
    }

    /// Reads a query, and notes where it has other parameters besides.
    static func read(
        _ query: UnsafeRawBufferPointer, saysMore: inout Bool
    ) throws(RequestError) -> CheckRequest? {
        var user: UserID?
        var cost = 1
        var start = 0
        while start < query.count {
            let end = query[start...].firstIndex(of: 0x26) ?? query.count
            let equals = query[start..<end].firstIndex(of: 0x3d) ?? end
            let name = UnsafeRawBufferPointer(rebasing: query[start..<equals])
            let value = UnsafeRawBufferPointer(rebasing: query[min(equals + 1, end)..<end])
            if name.equals("user") {
                user = try decoded(value) { text in UserID(text) }
                guard user != nil else { throw .invalidUser }
            } else if name.equals("cost") {
                guard let value = try decoded(value, { text in decimalCost(text) }) else { throw .invalidCost }
                cost = value
            } else {
                saysMore = true
            }
            start = end + 1
        }
        return user.map { CheckRequest(user: $0, cost: cost) }
    }

    /// Gives `read` the value with its percent-encoding resolved; the plain value itself where it has none.
    static func decoded<Value>(
        _ value: UnsafeRawBufferPointer, _ read: (UnsafeRawBufferPointer) -> Value?
    ) throws(RequestError) -> Value? {
        guard value.contains(0x25) else { return read(value) }
        var plain: [UInt8] = []
        var index = 0
        while index < value.count {
            if value[index] == 0x25 {
                guard index + 2 < value.count, let high = hexadecimalDigit(value[index + 1]),
                    let low = hexadecimalDigit(value[index + 2])
                else { throw .malformedQuery("a percent sign needs two hexadecimal digits") }
                plain.append(high << 4 | low)
                index += 3
            } else {
                plain.append(value[index])
                index += 1
            }
        }
        return plain.withUnsafeBytes { read($0) }
    }
}
