import RateLimitCore
public import RateLimitService

extension Answer {
    /// A page of the stream of events.
    static func events(_ page: EventPage) -> Answer {
        var writer = ByteWriter()
        writer.write("{\"events\":[")
        for (index, entry) in page.entries.enumerated() {
            if index > 0 { writer.write(",") }
            writer.write(entry.event, at: entry.cursor)
        }
        writer.write("],\"next_cursor\":\"")
        writer.write(text: "\(page.next)")
        writer.write("\",\"more\":")
        writer.write(page.hasMore ? "true" : "false")
        writer.write(",\"trimmed\":")
        writer.write(page.isTrimmed ? "true}" : "false}")
        return Answer(status: .ok, body: Array(writer.bytes))
    }
}

/// One member of an event, as it is told everywhere.
public struct EventMember: Hashable, Sendable {
    /// What it is called.
    public let name: String
    /// Its value as text, without quotation marks.
    public let text: String
    /// Whether JSON has it as a number.
    let isNumber: Bool

    fileprivate init(_ name: String, _ text: String) {
        (self.name, self.text, isNumber) = (name, text, false)
    }

    fileprivate init(_ name: String, number: String) {
        (self.name, self.text, isNumber) = (name, number, true)
    }
}

extension ThresholdEvent {
    /// What is told of it, in this order wherever order matters. What there is not is left out.
    public var members: [EventMember] {
        var members = [
            EventMember("id", id), EventMember("at", rfc3339(milliseconds: at)), EventMember("limit_name", limit.text),
            EventMember("unit", unit.text), EventMember("mode", mode.rawValue),
            EventMember("per", owner.scope.rawValue),
        ]
        switch owner {
        case .user(let user): members.append(EventMember("user_id", user.text))
        case .group(let group): members.append(EventMember("group_id", group.text))
        case .global: break
        }
        if let values { members.append(EventMember("values", values)) }
        members.append(EventMember("threshold", threshold.name))
        if let perMille = threshold.perMille { members.append(EventMember("share", number: shareText(perMille))) }
        members.append(EventMember("amount", number: "\(amount)"))
        if let quota { members.append(EventMember("quota", number: "\(quota)")) }
        members.append(EventMember("used", number: "\(used)"))
        if let windowMilliseconds {
            members.append(EventMember("window_seconds", number: "\(windowMilliseconds / 1_000)"))
        }
        if let period {
            members.append(EventMember("period_start", rfc3339(milliseconds: period.start * 1_000)))
            members.append(EventMember("period_end", rfc3339(milliseconds: period.nextStart * 1_000)))
        }
        return members
    }

    /// The event as a webhook is told it: one JSON object.
    public var json: [UInt8] {
        var writer = ByteWriter()
        writer.write(self, at: nil)
        return Array(writer.bytes)
    }
}

/// A share in thousandths as a number from 0.001 to 1, such as 0.8.
private func shareText(_ perMille: Int) -> String {
    guard perMille < 1_000 else { return "1" }
    let digits = "\(perMille)"
    var text = "0." + String(repeating: "0", count: 3 - digits.utf8.count) + digits
    while text.hasSuffix("0") { text.removeLast() }
    return text
}

extension ByteWriter {
    /// Writes an event as an object.
    ///
    /// - Parameter cursor: where it stands in the stream; nil where that is not known.
    fileprivate mutating func write(_ event: ThresholdEvent, at cursor: StreamCursor?) {
        let place = cursor.map { [EventMember("cursor", "\($0)")] } ?? []
        for (index, member) in (place + event.members).enumerated() {
            write(text: index == 0 ? "{\"\(member.name)\":" : ",\"\(member.name)\":")
            if member.isNumber { write(text: member.text) } else { write(json: member.text) }
        }
        write("}")
    }
}
