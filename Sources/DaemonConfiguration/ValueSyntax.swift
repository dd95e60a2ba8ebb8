import RedisClient

/// Why a text is not a value; without a reason, what is accepted says it all.
struct ValueRejection: Error, Equatable {
    let reason: String?
    /// What is accepted at the place that is wrong, where that says more than what the option accepts.
    let accepted: String?

    init(_ reason: String? = nil, accepted: String? = nil) {
        self.reason = reason
        self.accepted = accepted
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

    /// A syntax in which an empty text means a value that holds nothing.
    static func orEmpty(_ syntax: Self, empty: Value, meaning: String) -> Self {
        ValueSyntax(
            placeholder: syntax.placeholder,
            accepted: "\(syntax.accepted), or nothing for \(meaning)",
            parse: { text throws(ValueRejection) in text.isEmpty ? empty : try syntax.parse(text) },
            render: syntax.render
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
                guard let number = writtenNumber(text, in: range) else { throw ValueRejection() }
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
                guard let unit = text.last.flatMap({ secondsOfUnit[$0] }) else {
                    guard let seconds = writtenNumber(text, in: range) else { throw ValueRejection() }
                    return seconds
                }
                guard let count = decimalNumber(text.dropLast(), in: 0...range.upperBound),
                    range.contains(count * unit)
                else { throw ValueRejection() }
                return count * unit
            },
            render: { "\($0)" }
        )
    }
}

extension ValueSyntax where Value == Bool {
    static var yesOrNo: Self {
        ValueSyntax(
            placeholder: "yes|no",
            accepted: "yes, no, true, false, on, off, 1 and 0",
            parse: { text throws(ValueRejection) in
                // YAML tools make "True" and "FALSE" of an unquoted yes and no.
                switch text.lowercased() {
                case "yes", "true", "on", "1": true
                case "no", "false", "off", "0": false
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
            accepted: "octal modes of four digits from 0000 to 0777, such as 0660",
            parse: { text throws(ValueRejection) in
                guard text.utf8.count == 4, text.hasPrefix("0"), let mode = UInt16(text, radix: 8) else {
                    throw ValueRejection(decimalModeReason(text))
                }
                return mode
            },
            render: octalMode
        )
    }

    /// Why a mode without its leading 0 is refused, where it may be one that a YAML tool has turned into decimal: taken
    /// as octal, 432 for 0660 would let everybody write.
    private static func decimalModeReason(_ text: String) -> String? {
        guard (1...3).contains(text.utf8.count), !text.hasPrefix("0"),
            let mode = decimalNumber(text[...], in: 0...0o777)
        else { return nil }
        return "\(text) is \(octalMode(UInt16(mode))) in decimal, as YAML tools write a mode without quotes"
    }

    private static func octalMode(_ mode: UInt16) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: 4 - digits.utf8.count) + digits
    }
}

extension ValueSyntax where Value == String {
    static var socketPath: Self {
        let maximum = RedisEndpoint.maximumSocketPathBytes
        return path(accepted: "paths of 1 to \(maximum) bytes", maximumBytes: maximum)
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
        path(accepted: "paths of 1 to 4,095 bytes")
    }

    /// What is in the file is looked at when all options are known.
    static var pemFile: Self {
        path(accepted: "paths of readable PEM files, at most 1 MiB")
    }

    private static func path(accepted: String, maximumBytes: Int = 4095) -> Self {
        ValueSyntax(
            placeholder: "path", accepted: accepted,
            parse: { text throws(ValueRejection) in
                guard (1...maximumBytes).contains(text.utf8.count) else { throw ValueRejection() }
                try checkPath(text)
                return text
            },
            render: { $0 })
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
                try checkWord(text)
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
                try checkBlanks(text)
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
                try checkPath(path)
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
