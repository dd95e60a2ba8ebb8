import ArgumentParser
import FoundationEssentials
import RateLimitCore

/// The user whom a command is about: any text that the daemon accepts.
struct UserArgument: ParsableArguments {
    @Argument(help: ArgumentHelp("The user's id.", valueName: "user"), transform: { try UserArgument.read($0) })
    var id: SubjectID

    /// The user or group that an argument names; of a UUID either case.
    static func read(_ text: String) throws(ValidationError) -> SubjectID {
        guard let id = SubjectID(text) else { throw ValidationError("accepted is \(SubjectID.accepted)") }
        return id
    }
}

/// A text as a name or a value in a query: each byte that may not stand there, or means something, is `%` and two digits.
func queryText(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    let bytes = text.utf8.flatMap { byte -> [UInt8] in
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            [byte]
        default: [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}

extension SubjectID {
    /// The text as a segment of a path, and as a value in a query.
    var urlText: String {
        encoded.split(separator: "/", omittingEmptySubsequences: false).joined(separator: "%2F")
            .split(separator: "+", omittingEmptySubsequences: false).joined(separator: "%2B")
    }

    /// The text as a JSON string, quotes included.
    var jsonText: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        // A string can always be encoded.
        return (try? encoder.encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "null"
    }
}
