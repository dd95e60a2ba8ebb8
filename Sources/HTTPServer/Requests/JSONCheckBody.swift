import RateLimitCore

/// How the body of a check is laid out.
struct BodyLayout {
    /// Whether it has other members than user and cost.
    var hasOtherMembers = false
    /// Whether a check has an id.
    var hasRequestID = false
    /// Whether it may be a dry run, and whether it may have candidates.
    var hasDryRun = false
    var hasCandidates = false
    /// Whether a check says what makes a call of it.
    var isCall: Bool { hasRequestID || hasDryRun || hasCandidates }
    /// Where the 36 bytes of a UUID stand from which the user was read; nil for any other text, and where escapes had to
    /// be resolved.
    var userOffset: Int?
}

/// Reads the JSON body of a check: `{"user":"<text>","cost":1}`, in any order, with any other members besides.
///
/// It reads all of RFC 8259, so both ways into the daemon use it and answer alike; of a repeated member the last one
/// counts, and one that is null is as left out.
enum JSONCheckBody {
    /// Reads a whole body.
    static func read(_ bytes: UnsafeRawBufferPointer) throws(RequestError) -> CheckRequest {
        var layout = BodyLayout()
        return try read(bytes, layout: &layout)
    }

    /// Reads a whole body, and says how it is laid out.
    static func read(_ bytes: UnsafeRawBufferPointer, layout: inout BodyLayout) throws(RequestError) -> CheckRequest {
        var text = JSONReader(bytes)
        var user: SubjectID?
        var cost = 1
        try text.wholeObject { (text, name) throws(RequestError) in
            if text.isName(name, "user") {
                user = try text.userValue(offset: &layout.userOffset)
            } else if text.isName(name, "cost") {
                cost = try text.costValue()
            } else {
                layout.hasOtherMembers = true
                let isNull = text.isNull()
                if text.isName(name, "request_id") {
                    layout.hasRequestID = !isNull
                } else if text.isName(name, "dry_run") {
                    layout.hasDryRun = !isNull
                } else if text.isName(name, "candidates") {
                    layout.hasCandidates = !isNull
                }
                if !isNull { try text.skipValue(depth: 1) }
            }
        }
        guard let user else { throw .missingUser }
        return CheckRequest(user: user, cost: cost)
    }
}

extension JSONReader {
    /// The user; nil for null.
    ///
    /// - Parameter offset: where the UUID stands from which it was read; nil for any other text.
    mutating func userValue(offset: inout Int?) throws(RequestError) -> SubjectID? {
        offset = nil
        guard position < bytes.count, bytes[position] == 0x22 else {
            if isNull() { return nil }
            try skipValue(depth: 1)
            throw .invalidUser
        }
        // A canonical UUID between quotes, by far the commonest, needs no look for escapes: it can hold none.
        let end = position + 1 + SubjectID.uuidLength
        if end < bytes.count, bytes[end] == 0x22,
            let user = SubjectID(uuid: UnsafeRawBufferPointer(rebasing: bytes[position + 1..<end]))
        {
            offset = position + 1
            position = end + 1
            return user
        }
        guard let user = subject(in: try string()) else { throw .invalidUser }
        return user
    }

    /// The cost; 1 for null, as where it is left out.
    fileprivate mutating func costValue() throws(RequestError) -> Int {
        let start = position
        try skipValue(depth: 1)
        let text = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
        if let cost = decimalCost(text) { return cost }
        guard text.equals("null") else { throw .invalidCost }
        return 1
    }
}

/// A cost's text, a whole number from 1 to 1,000,000; nil for anything else.
func decimalCost(_ text: UnsafeRawBufferPointer) -> Int? {
    plainCost(text) ?? WholeNumber.read(text).flatMap { Limit.costs.contains($0) ? $0 : nil }
}

/// A cost as nearly everybody writes it: without sign, point, exponent or leading zero.
private func plainCost(_ text: UnsafeRawBufferPointer) -> Int? {
    guard (1...7).contains(text.count), text[0] != 0x30 else { return nil }
    var value = 0
    for byte in text {
        guard byte &- 0x30 < 10 else { return nil }
        value = value * 10 + Int(byte &- 0x30)
    }
    return Limit.costs.contains(value) ? value : nil
}
