public import RedisClient

/// A file whose one line is a password, with the password read from it.
public struct PasswordFile: Sendable, Equatable {
    /// Where the file is.
    public let path: String
    /// The file's text without its last line end.
    public let password: Secret
    /// Whether users outside the file's owner and group may read it.
    let isReadableByEveryone: Bool

    /// The longest password file that is read, in bytes.
    static let maximumBytes = 4096

    init(reading path: String) throws(ValueRejection) {
        let file: BoundedFile
        do {
            file = try BoundedFile(path: path, maximumBytes: Self.maximumBytes)
        } catch {
            throw ValueRejection("\(error)")
        }
        var bytes = file.bytes[...]
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard !bytes.isEmpty else { throw ValueRejection("it is empty") }
        guard !bytes.contains(where: { $0 == UInt8(ascii: "\n") || $0 == 0 }),
            let text = String(validating: bytes, as: UTF8.self)
        else { throw ValueRejection("it is not one line of UTF-8 text") }
        self.path = path
        password = Secret(text)
        isReadableByEveryone = file.isReadableByEveryone
    }
}
