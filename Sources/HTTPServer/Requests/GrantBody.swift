import RateLimitCore

/// Reads the JSON body of a grant, `{"limit":"<name>","amount":1000,"request_id":"…"}`, in any order; the id is optional,
/// and what is null is as left out.
///
/// A member that is not known is refused, as in a budget.
struct GrantBody: Hashable {
    var limit: LimitName
    var amount: Int
    /// What tells it from others that are alike; nil where each counts.
    var requestID: [UInt8]?

    /// Reads a whole body.
    static func read(_ bytes: UnsafeRawBufferPointer) throws(RequestError) -> GrantBody {
        var text = JSONReader(bytes)
        var limit: LimitName?
        var amount: Int?
        var requestID: [UInt8]?
        do throws(RequestError) {
            try text.wholeObject { (text, name) throws(RequestError) in
                if text.isName(name, "limit") {
                    limit = try text.isNull() ? nil : text.limitName()
                } else if text.isName(name, "amount") {
                    amount = try text.isNull() ? nil : text.grantAmount()
                } else if text.isName(name, "request_id") {
                    requestID = try text.isNull() ? nil : Array(text.text("request_id").utf8)
                    guard requestID.map({ GrantOrder.idLengths.contains($0.count) }) ?? true else {
                        throw .invalidGrant("request_id does not have 1 to \(GrantOrder.idLengths.upperBound) bytes")
                    }
                } else if !text.isNull() {
                    throw .invalidGrant("it has a member that is not known, which ends at byte \(text.position)")
                }
            }
        } catch {
            switch error {
            case .malformedJSON(let reason), .invalidCall(let reason): throw .invalidGrant(reason)
            default: throw error
            }
        }
        guard let limit else { throw .invalidGrant("limit is missing") }
        guard let amount else { throw .invalidGrant("amount is missing") }
        return GrantBody(limit: limit, amount: amount, requestID: requestID)
    }
}

extension JSONReader {
    fileprivate mutating func limitName() throws(RequestError) -> LimitName {
        guard let name = LimitName(try text("limit")) else { throw .invalidGrant("limit is the name of no limit") }
        return name
    }

    fileprivate mutating func grantAmount() throws(RequestError) -> Int {
        guard let amount = try wholeNumber(), GrantOrder.amounts.contains(amount) else {
            throw .invalidGrant("amount is no whole number from 1 to \(GrantOrder.amounts.upperBound)")
        }
        return amount
    }
}
