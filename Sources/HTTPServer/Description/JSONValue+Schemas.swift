import RateLimitCore
import RateLimitService

/// The parts of which schemas are made (JSON Schema 2020-12).
extension JSONValue {
    /// An object.
    ///
    /// - Parameter required: the members that are always there.
    static func object(required: [String] = [], _ properties: JSONValue) -> JSONValue {
        let names = required.map { JSONValue.string($0) }
        let start: JSONValue = required.isEmpty ? ["type": "object"] : ["type": "object", "required": .array(names)]
        return start.adding([Member(name: "properties", value: properties)])
    }

    static func array(of items: JSONValue) -> JSONValue { ["type": "array", "items": items] }

    /// An object with members of any name.
    static func map(of values: JSONValue) -> JSONValue { ["type": "object", "additionalProperties": values] }

    static func string() -> JSONValue { ["type": "string"] }

    static func string(lengths: ClosedRange<Int>) -> JSONValue {
        ["type": "string", "minLength": .integer(lengths.lowerBound), "maxLength": .integer(lengths.upperBound)]
    }

    static func string(of values: [String]) -> JSONValue {
        ["type": "string", "enum": .array(values.map { .string($0) })]
    }

    /// A whole number of at least 0.
    static let number: JSONValue = ["type": "integer", "minimum": 0]

    static func number(in range: ClosedRange<Int>) -> JSONValue {
        let start: JSONValue = ["type": "integer", "minimum": .integer(range.lowerBound)]
        let end = Member(name: "maximum", value: .integer(range.upperBound))
        return range.upperBound == .max ? start : start.adding([end])
    }

    static let flag: JSONValue = ["type": "boolean"]

    static let instant: JSONValue = ["type": "string", "format": "date-time"]

    /// A value of a schema, or null.
    var orNull: JSONValue {
        guard case .object(var members) = self, let place = members.firstIndex(where: { $0.name == "type" }) else {
            return ["anyOf": [self, ["type": "null"]]]
        }
        members[place].value = [members[place].value, "null"]
        // null has to be one of the values as well; no schema here has an enum of its own that may be null.
        precondition(!members.contains { $0.name == "enum" }, "a value of an enumeration is never null here")
        return .object(members)
    }

    func described(_ text: String) -> JSONValue { adding([Member(name: "description", value: .string(text))]) }
}

/// Values that several schemas have.
extension JSONValue {
    /// A user or a group.
    static let subject = string(lengths: SubjectID.textLengths).described("UTF-8; the lengths are in bytes.")

    static let limitName = string(lengths: LimitName.lengths)
        .adding([Member(name: "pattern", value: "^[a-z0-9][a-z0-9._-]*$")])

    static let unit = string(of: LimitUnit.all.map(\.text))

    static let degradedReason = string(of: FailureReason.allCases.map(\.rawValue))

    static let verbose = string(of: ["0", "1", "true", "false"])
}
