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
