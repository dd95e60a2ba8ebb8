import NIOCore
import RateLimitCore
import RateLimitService

@testable import GRPCServer

// The same call, written once as HTTP and once as protobuf: each text of it as the other has it.

extension DoorCall {
    /// The request of HTTP/1.1.
    ///
    /// - Parameter lease: that which a settle ends; nil where it ends none, and what it tells is a usage.
    func http(lease: String?) -> [UInt8] {
        if kind == .authorize { return httpAuthorization }
        if kind == .check, manners.contains(.query), !manners.contains(.verbose), saysUserAndCostAlone, let user {
            return Array(
                "GET /v1/check?user=\(Self.escaped(user))&cost=\(cost) HTTP/1.1\r\n\(ordinaryHeaders)\r\n".utf8)
        }
        var members: [(name: String, value: String)] = []
        if let lease { members.append(("lease", json(lease))) }
        if lease == nil, let user { members.append(("user", json(user))) }
        if let model { members.append(("model", json(model))) }
        if let provider { members.append(("provider", json(provider))) }
        let named = labels.map { "\(json($0.name)):\(json($0.value))" }
        if !labels.isEmpty { members.append(("labels", "{\(named.joined(separator: ","))}")) }
        if !groups.isEmpty { members.append(("groups", "[\(groups.map(json).joined(separator: ","))]")) }
        switch kind {
        case .check, .reserve: members.append(("cost", "\(cost)"))
        case .usage, .settle:
            if lease == nil, let id { members.append(("request_id", json(id))) }
            members += chargedMembers.map { ($0.name, "\($0.amount)") }
        case .authorize: break
        }
        if manners.contains(.userLast) { members.reverse() }
        let body = "{\(members.map { "\(json($0.name)):\($0.value)" }.joined(separator: ","))}"
        let query = manners.contains(.verbose) ? "?verbose=1" : ""
        let head =
            "POST /v1/\(route(lease: lease))\(query) HTTP/1.1\r\nContent-Length: \(body.utf8.count)\r\n\(ordinaryHeaders)"
        return Array((head + "Content-Type: application/json\r\n\r\n" + body).utf8)
    }

    private func route(lease: String?) -> String {
        switch kind {
        case .check, .authorize: "check"
        case .reserve: "reserve"
        case .settle: lease == nil ? "usage" : "settle"
        case .usage: "usage"
        }
    }

    private var saysUserAndCostAlone: Bool {
        model == nil && provider == nil && labels.isEmpty && groups.isEmpty
    }

    private var ordinaryHeaders: String {
        "Host: a\r\n" + (manners.contains(.slow) ? "Connection: Keep-Alive, x\r\n" : "")
    }

    private var httpAuthorization: [UInt8] {
        var request = Array("\(manners.contains(.post) ? "POST" : "GET") /v1/auth HTTP/1.1\r\nHost: a\r\n".utf8)
        for header in headers { request += Array("\(header.name): ".utf8) + header.value + Array("\r\n".utf8) }
        return request + Array((manners.contains(.post) ? "Content-Length: 3\r\n\r\nabc" : "\r\n").utf8)
    }

    /// What it came to, as HTTP's members tell it: what `tokens` says beyond the kinds that are told is of the kind that is
    /// not, the input, or where that is told the output.
    private var chargedMembers: [(name: String, amount: Int)] {
        var sums: [Charge: Int] = [:]
        for (charge, hits) in charges { sums[charge] = min(sums[charge, default: 0] + hits, 1_000_000_000_000) }
        var members: [(String, Int)] = []
        var (input, output) = (sums[.inputTokens], sums[.outputTokens])
        if let total = sums[.tokens] {
            let rest = max(0, total - (input ?? 0) - (output ?? 0))
            if input == nil { input = rest } else if output == nil { output = rest }
            output = output ?? 0
        }
        if let input { members.append((Charge.inputTokens.rawValue, input)) }
        if let output { members.append((Charge.outputTokens.rawValue, output)) }
        if let spend = sums[.spendMicros] { members.append(("cost_micros", spend)) }
        return members
    }

    private func json(_ text: String) -> String {
        var json = "\""
        for unit in text.utf16 where manners.contains(.escaped) {
            let digits = String(unit, radix: 16)
            json += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
        for scalar in text.unicodeScalars where !manners.contains(.escaped) {
            switch scalar {
            case "\"", "\\": json += "\\\(scalar)"
            case "\u{0}"..<"\u{20}": json += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: json.unicodeScalars.append(scalar)
            }
        }
        return json + "\""
    }

    private static func escaped(_ text: String) -> String {
        text.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

// MARK: - Protobuf

extension DoorCall {
    /// The message of gRPC: `RateLimitRequest`, or `CheckRequest`.
    ///
    /// - Parameter id: under which the call is held, or what it came to is told; nil for none.
    func protobuf(id: String?) -> ByteBuffer {
        var message = ByteBuffer()
        if kind == .authorize {
            writeCheckRequest(to: &message)
            return message
        }
        message.writeField(1, text: LimitsDomainRequest.domain)
        if kind == .check || kind == .reserve {
            message.writeField(2) { descriptor in
                writeEntries(id: id, charge: nil, to: &descriptor)
                if hasOwnHits { Self.writeHits(cost, to: &descriptor) }
            }
        }
        if kind == .settle || kind == .usage || manners.contains(.inOne) { writeCharges(id: id, to: &message) }
        if !hasOwnHits { message.writeField(3, number: cost) }
        return message
    }

    /// The hits of a request have 32 bits.
    private var hasOwnHits: Bool { manners.contains(.ownHits) || cost > UInt32.max }

    private func writeCharges(id: String?, to message: inout ByteBuffer) {
        for (charge, hits) in charges {
            message.writeField(2) { descriptor in
                writeEntries(id: id, charge: charge, to: &descriptor)
                Self.writeHits(hits, to: &descriptor)
            }
        }
    }

    private static func writeHits(_ hits: Int, to descriptor: inout ByteBuffer) {
        descriptor.writeField(3) { $0.writeField(1, number: hits) }
    }

    private func writeEntries(id: String?, charge: Charge?, to descriptor: inout ByteBuffer) {
        var entries: [(String, String)] = []
        if let user { entries.append(("user", user)) }
        if let model { entries.append(("model", model)) }
        if let provider { entries.append(("provider", provider)) }
        entries += labels.map { ("label.\($0.name)", $0.value) }
        if let charge { entries.append(("charge", charge.rawValue)) }
        if let id { entries.append(("x-request-id", id)) }
        if manners.contains(.userLast) { entries.reverse() }
        // Which group comes first is said.
        entries.insert(contentsOf: groups.map { ("group", $0) }, at: entries.count / 2)
        for (key, value) in entries {
            descriptor.writeField(1) { entry in
                entry.writeField(1, text: key)
                entry.writeField(2, text: value)
            }
        }
    }

    private func writeCheckRequest(to message: inout ByteBuffer) {
        message.writeField(1) { attributes in
            if let peer {
                attributes.writeField(1) { source in
                    source.writeField(1) { address in address.writeField(1) { $0.writeField(2, text: "\(peer)") } }
                }
            }
            attributes.writeField(4) { request in request.writeField(2) { writeHeaders(to: &$0) } }
        }
    }

    private func writeHeaders(to http: inout ByteBuffer) {
        let names = headers.map { $0.name.lowercased() }
        // A map has each name once.
        if manners.contains(.headersAreMap), Set(names).count == names.count {
            for header in headers { http.writeField(3) { Self.write(header, valueIn: 2, to: &$0) } }
        } else {
            http.writeField(13) { map in
                for header in headers { map.writeField(1) { Self.write(header, valueIn: 3, to: &$0) } }
            }
        }
    }

    private static func write(_ header: (name: String, value: [UInt8]), valueIn field: Int, to pair: inout ByteBuffer) {
        pair.writeField(1, text: header.name)
        // Whatever the bytes are, which no text holds.
        if !header.value.isEmpty { pair.writeField(field) { $0.writeBytes(header.value) } }
    }
}
