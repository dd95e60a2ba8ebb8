import RedisClient

/// Why a text is not a value; without a reason, what is accepted says it all.
struct ValueRejection: Error, Equatable {
    let reason: String?

    init(_ reason: String? = nil) {
        self.reason = reason
    }
}

/// How values of one kind are written: read, shown, and described to who wrote something else.
struct ValueSyntax<Value: Sendable & Equatable>: Sendable {
    /// Stands for the value in a command's help, such as `n`.
    let placeholder: String
    /// Completes the sentence "accepted are …".
    let accepted: String
    let parse: @Sendable (String) throws(ValueRejection) -> Value
    /// The canonical text of a value, which `parse` reads back; secrets are masked.
    let render: @Sendable (Value) -> String

    /// A syntax in which an empty text means "none".
    static func orNone<Some>(_ syntax: ValueSyntax<Some>, meaning: String) -> Self where Value == Some? {
        ValueSyntax(
            placeholder: syntax.placeholder,
            accepted: "\(syntax.accepted), or nothing for \(meaning)",
            parse: { text throws(ValueRejection) in text.isEmpty ? nil : try syntax.parse(text) },
            render: { value in value.map(syntax.render) ?? "" }
        )
    }
}

extension ValueSyntax where Value == Int {
    static func wholeNumber(in range: ClosedRange<Int>, unit: String = "", note: String = "") -> Self {
        ValueSyntax(
            placeholder: unit.isEmpty ? "n" : unit,
            accepted: "whole numbers from \(grouped(range.lowerBound)) to \(grouped(range.upperBound))"
                + (note.isEmpty ? "" : " (\(note))"),
            parse: { text throws(ValueRejection) in
                guard let number = decimalNumber(text[...], in: range) else { throw ValueRejection() }
                return number
            },
            render: { "\($0)" }
        )
    }

    /// A number of seconds, or of minutes, hours or days with the unit's letter behind it.
    static func seconds(in range: ClosedRange<Int>) -> Self {
        ValueSyntax(
            placeholder: "seconds|30m|1h|1d",
            accepted: "seconds from \(grouped(range.lowerBound)) to \(grouped(range.upperBound)), "
                + "also written with a unit such as 90s, 30m, 1h and 1d",
            parse: { text throws(ValueRejection) in
                let secondsOfUnit: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
                let unit = text.last.flatMap { secondsOfUnit[$0] }
                let digits = unit == nil ? text[...] : text.dropLast()
                guard let count = decimalNumber(digits, in: 0...range.upperBound),
                    range.contains(count * (unit ?? 1))
                else { throw ValueRejection() }
                return count * (unit ?? 1)
            },
            render: { "\($0)" }
        )
    }
}

extension ValueSyntax where Value == Bool {
    static var yesOrNo: Self {
        ValueSyntax(
            placeholder: "yes|no",
            accepted: "yes, no, true, false, 1 and 0",
            parse: { text throws(ValueRejection) in
                switch text {
                case "yes", "true", "1": true
                case "no", "false", "0": false
                default: throw ValueRejection()
                }
            },
            render: { $0 ? "yes" : "no" }
        )
    }
}

extension ValueSyntax where Value: CaseIterable & RawRepresentable<String> {
    static var oneOf: Self {
        let names = Value.allCases.map(\.rawValue)
        return ValueSyntax(
            placeholder: names.count > 3 ? "level" : names.joined(separator: "|"),
            accepted: names.dropLast().joined(separator: ", ") + " and " + (names.last ?? ""),
            parse: { text throws(ValueRejection) in
                guard let value = Value(rawValue: text) else { throw ValueRejection() }
                return value
            },
            render: \.rawValue
        )
    }
}

extension ValueSyntax where Value == UInt16 {
    static var fileMode: Self {
        ValueSyntax(
            placeholder: "mode",
            accepted: "octal modes from 0000 to 0777, such as 0660",
            parse: { text throws(ValueRejection) in
                guard (3...4).contains(text.utf8.count), !text.hasPrefix("+"), let mode = UInt16(text, radix: 8),
                    mode <= 0o777
                else { throw ValueRejection() }
                return mode
            },
            render: { "0" + String(repeating: "0", count: $0 < 8 ? 2 : $0 < 64 ? 1 : 0) + String($0, radix: 8) }
        )
    }
}

extension ValueSyntax where Value == String {
    static var socketPath: Self {
        let maximum = RedisEndpoint.maximumSocketPathBytes
        return text(placeholder: "path", accepted: "paths of 1 to \(maximum) bytes") { path in
            (1...maximum).contains(path.utf8.count) && !path.utf8.contains(0)
        }
    }

    static var groupName: Self {
        text(placeholder: "group", accepted: "a group name or number of 1 to 32 letters, digits and . _ -") { group in
            (1...32).contains(group.utf8.count) && group.utf8.allSatisfy { isWordByte($0) }
        }
    }

    static var userName: Self {
        text(placeholder: "user", accepted: "a name of 1 to 255 bytes without spaces") { name in
            (1...255).contains(name.utf8.count) && name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F }
        }
    }

    static var keyPrefix: Self {
        text(placeholder: "text", accepted: "1 to 64 printable ASCII characters other than space, { and }") { prefix in
            (1...64).contains(prefix.utf8.count)
                && prefix.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != 0x7B && $0 != 0x7D }
        }
    }

    static var filePath: Self {
        text(placeholder: "path", accepted: "paths of 1 to 4,095 bytes", isAccepted: isPath)
    }

    private static func isPath(_ text: String) -> Bool {
        (1...4095).contains(text.utf8.count) && !text.utf8.contains(0)
    }

    /// What is in the file is looked at when all options are known.
    static var pemFile: Self {
        let accepted = "paths of readable PEM files, at most 1 MiB"
        return text(placeholder: "path", accepted: accepted, isAccepted: isPath)
    }

    static var hostName: Self {
        text(placeholder: "name", accepted: "host names of 1 to 253 letters, digits and . _ -") { name in
            // A name that ends in a number would be read as an IPv4 address.
            (1...253).contains(name.utf8.count) && name.utf8.allSatisfy { isWordByte($0) }
                && name.split(separator: ".").last.map { Int($0) == nil } ?? false
        }
    }

    private static func text(
        placeholder: String, accepted: String, isAccepted: @escaping @Sendable (String) -> Bool
    ) -> Self {
        ValueSyntax(
            placeholder: placeholder,
            accepted: accepted,
            parse: { text throws(ValueRejection) in
                guard isAccepted(text) else { throw ValueRejection() }
                return text
            },
            render: { $0 }
        )
    }

}

extension ValueSyntax where Value == AllowedUsers {
    static var allowedUsers: Self {
        ValueSyntax(
            placeholder: "user,…",
            accepted: "1 to \(AllowedUsers.maximum) user names or numbers with commas between them",
            parse: { text throws(ValueRejection) in try AllowedUsers(text) },
            render: \.description
        )
    }
}

extension ValueSyntax where Value == ListenAddress {
    static var listenAddress: Self {
        ValueSyntax(
            placeholder: "address:port",
            accepted: "an IP address or localhost with a port, such as 127.0.0.1:8089 and [::1]:8089",
            parse: { text throws(ValueRejection) in
                guard let address = ListenAddress(text) else { throw ValueRejection() }
                return address
            },
            render: \.description
        )
    }
}

extension ValueSyntax where Value == RedisTopology {
    static var redisURL: Self {
        ValueSyntax(
            placeholder: "url",
            accepted: RedisTopology.acceptedURLs,
            parse: { text throws(ValueRejection) in
                do throws(RedisURLError) {
                    return try RedisTopology.parse(text)
                } catch {
                    throw ValueRejection(error.reason)
                }
            },
            render: \.description
        )
    }
}

extension ValueSyntax where Value == SecretFile {
    static var secretFile: Self {
        ValueSyntax(
            placeholder: "path",
            accepted: "paths of readable files of one line, at most 4 KiB",
            parse: { path throws(ValueRejection) in
                do throws(SecretFile.Problem) {
                    return try SecretFile(reading: path)
                } catch {
                    throw ValueRejection("\(error)")
                }
            },
            render: \.path
        )
    }
}

/// A number written with ASCII digits and nothing else, or nil: `Int(_:)` alone would also take "+1".
func decimalNumber(_ text: Substring, in range: ClosedRange<Int>) -> Int? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
        let number = Int(text), range.contains(number)
    else { return nil }
    return number
}

/// Whether a byte may stand in the name of a user or group.
func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    default:
        "._-".utf8.contains(byte)
    }
}

/// A number with commas between thousands.
func grouped(_ number: Int) -> String {
    let digits = String(number.magnitude)
    var text = number < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
        if index > 0 && (digits.count - index).isMultiple(of: 3) { text.append(",") }
        text.append(digit)
    }
    return text
}
