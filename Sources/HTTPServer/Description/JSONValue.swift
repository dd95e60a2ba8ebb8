/// A JSON value that is put together before it is written: what is made once, and not for each answer. Members keep
/// their order.
indirect enum JSONValue: Sendable {
    case object([Member])
    case array([JSONValue])
    case string(String)
    case integer(Int)
    case boolean(Bool)

    /// One member of an object.
    struct Member: Sendable {
        var name: String
        var value: JSONValue
    }

    /// Its JSON.
    var text: String {
        var writer = ByteWriter()
        write(to: &writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    private func write(to writer: inout ByteWriter) {
        switch self {
        case .object(let members):
            writer.write("{")
            for (index, member) in members.enumerated() {
                if index > 0 { writer.write(",") }
                writer.write(json: member.name)
                writer.write(":")
                member.value.write(to: &writer)
            }
            writer.write("}")
        case .array(let values):
            writer.write("[")
            for (index, value) in values.enumerated() {
                if index > 0 { writer.write(",") }
                value.write(to: &writer)
            }
            writer.write("]")
        case .string(let text): writer.write(json: text)
        case .integer(let number): writer.write(text: "\(number)")
        case .boolean(let value): writer.write(value ? "true" : "false")
        }
    }

    /// An object with more members behind its own, and any other value as it is.
    func adding(_ members: [Member]) -> JSONValue {
        if case .object(let own) = self { .object(own + members) } else { self }
    }
}

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral, ExpressibleByStringInterpolation,
    ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral
{
    init(dictionaryLiteral members: (String, JSONValue)...) {
        self = .object(members.map { Member(name: $0, value: $1) })
    }

    init(arrayLiteral values: JSONValue...) { self = .array(values) }

    init(stringLiteral text: String) { self = .string(text) }

    init(integerLiteral number: Int) { self = .integer(number) }

    init(booleanLiteral value: Bool) { self = .boolean(value) }
}
