import BoundedFiles
import Synchronization

/// A file whose one line is a secret, read again whenever the secret is needed: a login that is changed in Redis and in
/// the file goes on without a restart.
public final class SecretFile: Sendable {
    /// Where the file is.
    public let path: String
    /// Whether users outside the file's owner and group could read it when it was first read.
    public let isReadableByEveryone: Bool
    private let lastGood: Mutex<String>

    /// The longest file that is read, in bytes.
    public static let maximumBytes = 4096

    /// Why a file's text cannot be used; the description is the reason alone.
    public enum Problem: Error, Equatable, CustomStringConvertible {
        /// It cannot be read, in the system's words.
        case unreadable(String)
        /// Nothing is in it.
        case empty
        /// It has more than a line, or bytes that are no text.
        case notOneLine

        /// What is wrong, without "cannot …" in front.
        public var description: String {
            switch self {
            case .unreadable(let reason): reason
            case .empty: "it is empty"
            case .notOneLine: "it is not one line of UTF-8 text"
            }
        }
    }

    /// Reads the file for the first time.
    public init(reading path: String) throws(Problem) {
        let (text, isReadableByEveryone) = try Self.read(path)
        self.path = path
        self.isReadableByEveryone = isReadableByEveryone
        lastGood = Mutex(text)
    }

    /// The line without its end, as a secret that follows the file.
    public var secret: Secret { Secret(self) }

    /// The line as it stands now, or as it was when the file could last be used: a file that is just being replaced
    /// must not log anybody out.
    func read() -> String {
        if let (text, _) = try? Self.read(path) { lastGood.withLock { $0 = text } }
        return lastGood.withLock { $0 }
    }

    private static func read(_ path: String) throws(Problem) -> (text: String, isReadableByEveryone: Bool) {
        let file: BoundedFile
        do {
            file = try BoundedFile(path: path, maximumBytes: maximumBytes)
        } catch {
            throw .unreadable("\(error)")
        }
        var bytes = withoutByteOrderMark(file.bytes)
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard !bytes.isEmpty else { throw .empty }
        guard !bytes.contains(where: { $0 == UInt8(ascii: "\n") || $0 == 0 }),
            let text = String(validating: bytes, as: UTF8.self)
        else { throw .notOneLine }
        return (text, file.isReadableByEveryone)
    }
}

extension SecretFile: Equatable, CustomReflectable {
    /// Whether both are the same file; what is in it may have changed between the two.
    public static func == (one: SecretFile, other: SecretFile) -> Bool { one.path == other.path }

    /// The path alone, so that `dump` and reflection do not find the text.
    public var customMirror: Mirror { Mirror(self, children: ["path": path]) }
}
