import ArgumentParser

/// The user whom a command is about: a canonical UUID.
struct UserArgument: ParsableArguments {
    @Argument(help: ArgumentHelp("The user's UUID.", valueName: "user"), transform: { try UserArgument.canonical($0) })
    var uuid: String

    /// The lower-case form of a UUID, as the daemon uses it.
    static func canonical(_ text: String) throws(ValidationError) -> String {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        let isUUID =
            groups.map(\.utf8.count) == [8, 4, 4, 4, 12] && groups.joined().utf8.allSatisfy(isHexadecimalDigit)
        guard isUUID else {
            throw ValidationError("accepted are UUIDs such as 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11")
        }
        return text.lowercased()
    }

    private static func isHexadecimalDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }
}
