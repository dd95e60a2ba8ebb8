import RateLimitCore
import RateLimitService

/// Reads what a gateway says of a call: the members of a JSON body, in any order, all but `user` optional. Members that
/// are not known are ignored.
///
///     {"user":"<uuid>","cost":1,"model":"…","provider":"…","labels":{"route":"…"},"groups":["<uuid>"],
///      "input_tokens":0,"output_tokens":0,"cache_read_input_tokens":0,"cache_write_input_tokens":0,"cost_micros":0,
///      "ttl":60,"lease":"…","request_id":"…"}
struct CallBody: Hashable {
    var user: UserID?
    var cost: Int?
    var model: String?
    var provider: String?
    var labels: [CallAttributes.Label] = []
    var groups: [UserID] = []
    var input: Int?
    var output: Int?
    var cacheRead: Int?
    var cacheWrite: Int?
    var costMicros: Int?
    /// How long a lease lives, in seconds.
    var timeToLiveSeconds: Int?
    var lease: Lease?
    var requestID: [UInt8]?

    /// How long a lease may live without being renewed.
    static let timesToLive = 1...86_400
    /// How many bytes the id of a request has.
    static let idLengths = 1...128

    /// Reads a whole body.
    static func read(_ bytes: UnsafeRawBufferPointer) throws(RequestError) -> CallBody {
        var text = JSONText(bytes)
        var body = CallBody()
        try text.wholeObject { (text, name) throws(RequestError) in
            if try body.readIdentity(&text, name) { return }
            if try body.readCosts(&text, name) { return }
            try text.skipValue(depth: 1)
        }
        return body
    }

    private mutating func readIdentity(_ text: inout JSONText, _ name: Range<Int>) throws(RequestError) -> Bool {
        if text.isName(name, "user") {
            user = try text.identity(.invalidUser)
        } else if text.isName(name, "model") {
            model = try text.text("model")
        } else if text.isName(name, "provider") {
            provider = try text.text("provider")
        } else if text.isName(name, "labels") {
            labels = []
            try text.object { (text, name) throws(RequestError) in
                let label = try text.resolved(name, "a label's name")
                guard labels.count < CallAttributes.maximumLabels else {
                    throw .invalidCall("\(CallAttributesError.tooManyLabels)")
                }
                labels.append(CallAttributes.Label(label, try text.text("label \(label)")))
            }
        } else if text.isName(name, "groups") {
            groups = try text.identities(.invalidGroup, atMost: CallAttributes.maximumGroups)
        } else if text.isName(name, "lease") {
            guard let lease = Lease(try text.text("lease")) else {
                throw .invalidCall("lease is none that was given here")
            }
            self.lease = lease
        } else if text.isName(name, "request_id") {
            let id = Array(try text.text("request_id").utf8)
            guard Self.idLengths.contains(id.count) else {
                throw .invalidCall("request_id does not have 1 to \(Self.idLengths.upperBound) bytes")
            }
            requestID = id
        } else {
            return false
        }
        return true
    }

    private mutating func readCosts(_ text: inout JSONText, _ name: Range<Int>) throws(RequestError) -> Bool {
        let tokens = TokenUsage.counts
        if text.isName(name, "cost") {
            do throws(RequestError) { cost = try text.wholeNumber("cost", in: Limit.costs) } catch {
                throw .invalidCost
            }
        } else if text.isName(name, "input_tokens") {
            input = try text.wholeNumber("input_tokens", in: tokens)
        } else if text.isName(name, "output_tokens") {
            output = try text.wholeNumber("output_tokens", in: tokens)
        } else if text.isName(name, "cache_read_input_tokens") {
            cacheRead = try text.wholeNumber("cache_read_input_tokens", in: tokens)
        } else if text.isName(name, "cache_write_input_tokens") {
            cacheWrite = try text.wholeNumber("cache_write_input_tokens", in: tokens)
        } else if text.isName(name, "cost_micros") {
            costMicros = try text.wholeNumber("cost_micros", in: ModelPrice.spends)
        } else if text.isName(name, "ttl") {
            timeToLiveSeconds = try text.wholeNumber("ttl", in: Self.timesToLive)
        } else {
            return false
        }
        return true
    }

    /// What is asked, with an operation that the route says.
    func request(_ operation: CallRequest.Operation) throws(RequestError) -> CallRequest {
        guard let user else { throw .missingUser }
        let attributes: CallAttributes
        do {
            attributes = try CallAttributes(model: model, provider: provider, labels: labels, groups: groups)
        } catch {
            throw .invalidCall("\(error)")
        }
        let kinds: [(Int?, ToldTokens)] = [
            (input, .input), (output, .output), (cacheRead, .cacheRead), (cacheWrite, .cacheWrite),
        ]
        let told = kinds.reduce(into: ToldTokens()) { if $1.0 != nil { $0.insert($1.1) } }
        let tokens = TokenUsage(
            input: input ?? 0, output: output ?? 0, cacheRead: cacheRead ?? 0, cacheWrite: cacheWrite ?? 0)
        return CallRequest(
            user: user, operation: operation, attributes: attributes, cost: cost ?? 1,
            tokens: told.isEmpty ? nil : tokens, told: told, costMicros: costMicros)
    }
}

extension JSONText {
    /// A string's text with its escapes resolved.
    mutating func text(_ name: String) throws(RequestError) -> String {
        guard position < bytes.count, bytes[position] == 0x22 else { throw .invalidCall("\(name) is no string") }
        return try resolved(try string(), name)
    }

    fileprivate mutating func identity(_ error: RequestError) throws(RequestError) -> UserID {
        guard let identity = try identity() else { throw error }
        return identity
    }

    fileprivate mutating func identities(_ error: RequestError, atMost limit: Int) throws(RequestError) -> [UserID] {
        guard skip(0x5b) else { throw error }
        var identities: [UserID] = []
        skipSpace()
        if skip(0x5d) { return [] }
        repeat {
            skipSpace()
            guard identities.count < limit else { throw .invalidCall("\(CallAttributesError.tooManyGroups)") }
            identities.append(try identity(error))
            skipSpace()
        } while skip(0x2c)
        try expect(0x5d, "a comma or a closing bracket")
        return identities
    }

    fileprivate mutating func wholeNumber(_ name: String, in range: ClosedRange<Int>) throws(RequestError) -> Int {
        guard let number = try wholeNumber(), range.contains(number) else {
            throw .invalidCall("\(name) is no whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// The text between quotes, escapes resolved.
    fileprivate func resolved(_ range: Range<Int>, _ name: String) throws(RequestError) -> String {
        let raw = bytes[range]
        var units: [UInt8] = []
        var index = range.lowerBound
        if !raw.contains(0x5c) {
            units = Array(raw)
            index = range.upperBound
        }
        while index < range.upperBound {
            guard bytes[index] == 0x5c else {
                units.append(bytes[index])
                index += 1
                continue
            }
            let escape = bytes[index + 1]
            index += 2
            switch escape {
            case 0x62: units.append(0x08)
            case 0x66: units.append(0x0c)
            case 0x6e: units.append(0x0a)
            case 0x72: units.append(0x0d)
            case 0x74: units.append(0x09)
            case 0x75:
                guard let scalar = scalar(at: &index, before: range.upperBound) else {
                    throw .invalidCall("\(name) holds half a surrogate pair")
                }
                units += Array(String(scalar).utf8)
            default: units.append(escape)
            }
        }
        guard let text = String(validating: units, as: UTF8.self) else { throw .invalidCall("\(name) is no UTF-8") }
        return text
    }

    /// The character that four digits stand for, or twice four where they are a surrogate pair.
    private func scalar(at index: inout Int, before end: Int) -> UnicodeScalar? {
        func unit() -> UInt32 {
            defer { index += 4 }
            return bytes[index..<index + 4].reduce(0) { $0 << 4 | UInt32(hexadecimalDigit($1) ?? 0) }
        }
        let first = unit()
        guard 0xd800...0xdbff ~= first else { return UnicodeScalar(first) }
        guard index + 6 <= end, bytes[index] == 0x5c, bytes[index + 1] == 0x75 else { return nil }
        index += 2
        let second = unit()
        guard 0xdc00...0xdfff ~= second else { return nil }
        return UnicodeScalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
    }
}
