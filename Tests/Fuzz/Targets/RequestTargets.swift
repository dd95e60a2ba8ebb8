import Foundation
import NIOHTTP1
import RateLimitCore
import RateLimitService

@testable import HTTPServer

/// A request that is recognised ends where it ends: cut off earlier it is incomplete, and what follows changes nothing.
func fuzzFastPath(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    for checksAreCalls in [false, true] {
        func recognise(_ bytes: UnsafeRawBufferPointer) -> FastPath.Recognition {
            FastPath.recognise(bytes, checksAreCalls: checksAreCalls)
        }
        switch recognise(bytes) {
        case .other: break
        case .incomplete:
            // What may still become a check could have become one before as well.
            try holdIncomplete(bytes, upTo: bytes.count, recognise)
        case .check(let check, let length, _):
            try hold(length > 0 && length <= bytes.count, "a request of \(length) bytes in \(bytes.count)")
            try hold(Limit.costs.contains(check.cost), "a cost of \(check.cost)")
            let again = try withExactCopy(UnsafeRawBufferPointer(rebasing: bytes[..<length]), recognise)
            guard case .check(check, length, _) = again else {
                throw FuzzFinding(description: "a check with something behind it, and \(again) alone")
            }
            try holdIncomplete(bytes, upTo: length, recognise)
            try holdKnown(bytes, length: length)
        case .call(let route, let isVerbose, let body):
            try hold(body.upperBound <= bytes.count, "a body at \(body) of \(bytes.count) bytes")
            let whole = UnsafeRawBufferPointer(rebasing: bytes[..<body.upperBound])
            let again = try withExactCopy(whole, recognise)
            guard case .call(route, isVerbose, body) = again else {
                throw FuzzFinding(description: "a call with something behind it, and \(again) alone")
            }
            try holdIncomplete(bytes, upTo: body.upperBound, recognise)
            try holdRead(whole, route, isVerbose: isVerbose, body)
        }
    }
}

/// A call is read from its body alone, and one that is kept is known again as just that call.
private func holdRead(
    _ request: UnsafeRawBufferPointer, _ route: CallRoute, isVerbose: Bool, _ body: Range<Int>
) throws(FuzzFinding) {
    var known = RequestTemplate()
    let call = try withExactCopy(request) {
        FastPath.read(route, isVerbose: isVerbose, body: body, of: $0, under: fuzzedLimits, remembering: &known)
    }
    let alone = try withExactCopy(UnsafeRawBufferPointer(rebasing: request[body])) { bytes in
        Result { () throws(RequestError) in
            try route.request(try CallBody.read(bytes, under: fuzzedLimits), fuzzedLimits.leases)
        }
    }
    try hold(call?.request == (try? alone.get()), "\(String(describing: call)), and \(alone) alone")
    guard let (check, length) = known.recognise(request) else { return }
    try hold(length == request.count && route == .check && !isVerbose, "\(check) is known of \(route)")
    let plain = CallRequest(user: check.user, cost: check.cost)
    try hold(call?.request == plain, "\(check) is known of \(String(describing: call))")
}

/// Somebody who knows this request makes of one that differs in a byte what is made of it without that knowledge.
private func holdKnown(_ bytes: UnsafeRawBufferPointer, length: Int) throws(FuzzFinding) {
    var changed = Array(bytes[..<length])
    for index in stride(from: 0, to: length, by: max(1, length / 64)) {
        let original = changed[index]
        for value in [original ^ 1, original ^ 0x20, 0x61] {
            var known = RequestTemplate()
            _ = FastPath.recognise(bytes, after: &known)
            changed[index] = value
            let plain = changed.withUnsafeBytes { FastPath.recognise($0) }
            let informed = changed.withUnsafeBytes { FastPath.recognise($0, after: &known) }
            let isSame =
                switch (plain, informed) {
                case (
                    .check(let left, let one, let hasOtherMembers),
                    .check(let right, let other, let otherHasOtherMembers)
                ):
                    left == right && one == other && hasOtherMembers == otherHasOtherMembers
                case (.call(let left, let one, let body), .call(let right, let other, let otherBody)):
                    left == right && one == other && body == otherBody
                case (.incomplete, .incomplete), (.other, .other): true
                default: false
                }
            try hold(isSame, "\(informed) where byte \(index) differs from the known request, and \(plain) without it")
        }
        changed[index] = original
    }
}

private func holdIncomplete(
    _ bytes: UnsafeRawBufferPointer, upTo length: Int, _ recognise: (UnsafeRawBufferPointer) -> FastPath.Recognition
) throws(FuzzFinding) {
    // A longer beginning at few places, so that a long input does not take its square.
    for count in stride(from: 1, to: length, by: max(1, length / 64)) {
        let begun = try withExactCopy(UnsafeRawBufferPointer(rebasing: bytes[..<count]), recognise)
        guard case .incomplete = begun else {
            throw FuzzFinding(description: "\(begun) after \(count) of \(length) bytes that may become a check")
        }
    }
}

/// Foundation's reader is the oracle for what is JSON, and for who is named in it.
func fuzzJSONBody(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let result = Result { () throws(RequestError) in try JSONCheckBody.read(bytes) }
    guard let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(0), !text.hasPrefix("\u{feff}")
    else {
        return
    }
    let object = (try? JSONSerialization.jsonObject(with: Data(bytes))) as? [String: Any]
    switch result {
    case .success(let check):
        try hold(Limit.costs.contains(check.cost), "a cost of \(check.cost)")
        // Foundation refuses numbers that no Double holds, and halves of surrogate pairs; RFC 8259 refuses neither.
        guard let object else {
            return try hold(text.contains("\\u") || hasLargeNumber(text), "read \(check), and it is no JSON")
        }
        // Of a repeated member Foundation does not say which one counts.
        guard text.components(separatedBy: "user").count == 2, !text.contains("\\") else { return }
        let user = (object["user"] as? String).flatMap { SubjectID($0) }
        try hold(user == check.user, "read \(check.user), and Foundation \(String(describing: user))")
    case .failure(.malformedJSON(let reason)):
        // Foundation takes a comma behind the last member as well, and more nesting.
        let isLenient = hasTrailingComma(text) || reason.contains("nesting")
        try hold(object == nil || isLenient, "refused for \(reason), and it is JSON")
    case .failure(let error):
        try hold([.missingUser, .invalidUser, .invalidCost].contains(error), "refused with \(error)")
    }
}

func hasTrailingComma(_ text: String) -> Bool {
    let dense = text.filter { !$0.isWhitespace }
    return dense.contains(",}") || dense.contains(",]")
}

/// A number with an exponent or with many digits.
func hasLargeNumber(_ text: String) -> Bool {
    var digits = 0
    for byte in text.utf8 {
        if byte &- 0x30 < 10 { digits += 1 } else if byte | 0x20 != 0x65 || digits == 0 { digits = 0 }
        if digits > 15 || (digits > 0 && byte | 0x20 == 0x65) { return true }
    }
    return false
}

/// The same reading in its plainest form.
func fuzzQuery(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let result = Result { () throws(RequestError) in try CheckQuery.read(bytes) }
    let expected = Result { () throws(RequestError) in try plainQuery(Array(bytes)) }
    try hold(result == expected, "read \(result), should be \(expected)")
}

private func plainQuery(_ query: [UInt8]) throws(RequestError) -> CheckRequest? {
    var user: SubjectID?
    var cost = 1
    for parameter in query.split(separator: UInt8(ascii: "&")) {
        let parts = parameter.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
        // One whose name cannot be read is nobody's.
        guard let plain = try? plainValue(Array(parts[0])) else { continue }
        let name = String(decoding: plain, as: UTF8.self)
        guard name == "user" || name == "cost" else { continue }
        let value = try plainValue(parts.count > 1 ? Array(parts[1]) : [])
        if name == "user" {
            user = value.withUnsafeBytes { SubjectID($0) }
            if user == nil { throw .invalidUser }
        } else {
            let text = String(decoding: value, as: UTF8.self)
            guard let number = plainNumber(text), Limit.costs.contains(number) else { throw .invalidCost }
            cost = number
        }
    }
    return user.map { CheckRequest(user: $0, cost: cost) }
}

/// A number of JSON's grammar that is whole, by Foundation's decimals.
private func plainNumber(_ text: String) -> Int? {
    guard text.wholeMatch(of: /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/) != nil,
        let decimal = Decimal(string: text), decimal >= 0, decimal <= 1_000_000
    else { return nil }
    let number = (decimal as NSDecimalNumber).intValue
    return Decimal(number) == decimal ? number : nil
}

private func plainValue(_ value: [UInt8]) throws(RequestError) -> [UInt8] {
    var plain: [UInt8] = []
    let value = value.map { $0 == UInt8(ascii: "+") ? UInt8(ascii: " ") : $0 }
    for (index, part) in value.split(separator: UInt8(ascii: "%"), omittingEmptySubsequences: false).enumerated() {
        guard index > 0 else {
            plain += part
            continue
        }
        let digits = part.prefix(2).compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
        guard digits.count == 2 else { throw .malformedQuery("a percent sign needs two hexadecimal digits") }
        plain += [UInt8(digits[0] << 4 | digits[1])] + part.dropFirst(2)
    }
    return plain
}

/// Lines: method, URI, media type; the rest is the body. The first byte says what else is known of the request.
func fuzzRouter(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (head, rest) = bytes.headAndRest
    let parts = rest.split(separator: UInt8(ascii: "\n"), maxSplits: 3, omittingEmptySubsequences: false)
    func text(_ index: Int) -> String { parts.count > index ? String(decoding: parts[index], as: UTF8.self) : "" }
    var request = Router.Request(
        method: HTTPMethod(rawValue: text(0)), uri: text(1), contentType: head & 1 == 0 ? nil : text(2),
        hasLength: head & 2 == 0, isAdmin: head & 4 == 0, body: parts.count > 3 ? Array(parts[3]) : []
    )
    request.headers = headers(in: text(3))
    request.peer = head & 8 == 0 ? .unixSocket : .address(IPAddress(ipv4: 0x0a00_0001))
    request.callers = fuzzedCallers
    switch Result(catching: { () throws(RequestError) in try Router.route(request) }) {
    case .success(.check(let check)): try hold(Limit.costs.contains(check.cost), "a cost of \(check.cost)")
    case .success(.call(let call)): try hold(Limit.costs.contains(call.request.cost), "a cost of \(call.request.cost)")
    case .success(.authorize(let asked)): try holdAuthorization(asked, of: request)
    case .success(.reset): try hold(request.isAdmin && request.method == .DELETE, "a reset through \(request)")
    case .success(.admin(let asked)):
        let methods: [HTTPMethod] =
            switch asked {
            case .change: [.PUT, .DELETE]
            case .resetDescriptor: [.DELETE]
            case .grant: [.POST]
            case .userBudget, .groupBudget, .membership, .audit, .events: [.GET, .HEAD]
            }
        try hold(request.isAdmin && methods.contains(request.method), "\(asked) through \(request)")
    case .success(let route):
        try hold([.GET, .HEAD].contains(request.method), "\(route) through \(request.method)")
    case .failure(let error): try hold(!error.detail.isEmpty && error.status.rawValue >= 400, "\(error)")
    }
}

private let fuzzedCallers = CallerRules(
    tokenKey: TokenKey(secret: "0123456789abcdef"), trustedProxies: (try? TrustedProxies("10.0.0.0/8,unix")) ?? .none)

/// Each line of a text as a header.
private func headers(in text: String) -> HTTPHeaders {
    var headers = HTTPHeaders()
    for line in text.split(separator: "\n").prefix(64) {
        let sides = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        // The decoder lets no other names through, and NIO takes none.
        guard sides[0].utf8.allSatisfy({ $0 < 0x80 }) else { continue }
        headers.add(name: sides[0], value: sides.count > 1 ? sides[1] : "")
    }
    return headers
}

/// Who asks at `/v1/auth` is somebody of one kind, and nothing of path and query says who, nor what is charged.
private func holdAuthorization(_ asked: AuthorizationRequest, of request: Router.Request) throws(FuzzFinding) {
    var plain = request
    plain.uri = "/v1/auth"
    let again = Result { () throws(RequestError) in try Router.route(plain) }
    guard case .success(.authorize(let other)) = again else {
        throw FuzzFinding(description: "\(again) without a path")
    }
    try hold(asked.call == other.call && other.denial == .tooManyRequests, "\(asked), and \(other) without a path")
    guard case .success(let call) = asked.call else { return }
    try hold(call == CallRequest(user: call.user), "\(call) says more than who")
    let blanks = CharacterSet(charactersIn: " \t")
    let named = (request.headers["X-User-Id"].first ?? "").trimmingCharacters(in: blanks)
    let isOfAnotherKind = ["api-key:", "address:"].contains { call.user.text.utf8.starts(with: $0.utf8) }
    let isSame = SubjectID(named) == call.user
    try hold(named.isEmpty ? isOfAnotherKind : isSame && !isOfAnotherKind, "\(call.user) of a user \(named)")
    guard call.user.text.utf8.starts(with: "address:".utf8) else { return }
    let address = call.user.text.dropFirst("address:".count)
    let reread = try? AddressRange(address)
    try hold(reread?.description == String(address), "no address: \(address)")
}
