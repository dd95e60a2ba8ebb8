import RateLimitCore

/// Reads the JSON body of a check: `{"user":"<uuid>","cost":1}`, in any order, with any other members besides.
///
/// It reads all of RFC 8259, so both ways into the daemon use it and answer alike; of a repeated member the last one
/// counts.
enum JSONCheckBody {
    /// Reads a whole body.
    static func read(_ bytes: UnsafeRawBufferPointer) throws(RequestError) -> CheckRequest {
        var saysMore = false
        return try read(bytes, saysMore: &saysMore)
    }

    /// Reads a whole body, and notes where it has other members besides.
    static func read(_ bytes: UnsafeRawBufferPointer, saysMore: inout Bool) throws(RequestError) -> CheckRequest {
        var text = JSONText(bytes)
        var user: UserID?
        var cost = 1
        try text.wholeObject { (text, name) throws(RequestError) in
            if text.isName(name, "user") {
                user = try text.userValue()
            } else if text.isName(name, "cost") {
                cost = try text.costValue()
            } else {
                saysMore = true
                try text.skipValue(depth: 1)
            }
        }
        guard let user else { throw .missingUser }
        return CheckRequest(user: user, cost: cost)
    }
}

extension JSONText {
    fileprivate mutating func userValue() throws(RequestError) -> UserID {
        guard position < bytes.count, bytes[position] == 0x22 else {
            try skipValue(depth: 1)
            throw .invalidUser
        }
        // A canonical UUID between quotes, by far the commonest, needs no look for escapes: it can hold none.
        let end = position + 1 + UserID.textLength
        if end < bytes.count, bytes[end] == 0x22,
            let user = UserID(UnsafeRawBufferPointer(rebasing: bytes[position + 1..<end]))
        {
            position = end + 1
            return user
        }
        let text = try string()
        guard let user = UserID(UnsafeRawBufferPointer(rebasing: bytes[text])) else { throw .invalidUser }
        return user
    }

    fileprivate mutating func costValue() throws(RequestError) -> Int {
        let start = position
        try skipValue(depth: 1)
        guard let cost = decimalCost(UnsafeRawBufferPointer(rebasing: bytes[start..<position])) else {
            throw .invalidCost
        }
        return cost
    }
}

/// A cost's decimal text: 1 to 1,000,000 without sign, point or leading zero; nil for anything else.
func decimalCost(_ text: UnsafeRawBufferPointer) -> Int? {
    guard (1...7).contains(text.count), text[0] != 0x30 else { return nil }
    var value = 0
    for byte in text {
        guard byte &- 0x30 < 10 else { return nil }
        value = value * 10 + Int(byte &- 0x30)
    }
    return Limit.costs.contains(value) ? value : nil
}
