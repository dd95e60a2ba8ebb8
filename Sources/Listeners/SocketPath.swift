import Glibc

/// A path for a Unix socket that has been checked, in its two parts.
struct SocketPath: Sendable, Equatable {
    let text: String
    /// What stands before the last slash; `.` where there is none.
    let folder: String
    let name: String

    var bytes: [UInt8] { Array(text.utf8) }

    init(_ text: String) throws(ListenerError) {
        let bytes = text.utf8
        guard !bytes.isEmpty else { throw .invalidPath(path: text, reason: "it is empty") }
        guard bytes.count <= UnixListener.maximumPathBytes else {
            throw .invalidPath(path: text, reason: "it has \(bytes.count) bytes")
        }
        guard !bytes.contains(0) else { throw .invalidPath(path: text, reason: "it contains a zero byte") }
        let slash = bytes.lastIndex(of: UInt8(ascii: "/"))
        let name = slash.map { text[bytes.index(after: $0)...] } ?? text[...]
        guard !name.isEmpty, name != ".", name != ".." else {
            throw .invalidPath(path: text, reason: "it names a folder")
        }
        self.text = text
        self.name = String(name)
        guard let slash else {
            folder = "."
            return
        }
        folder = slash == bytes.startIndex ? "/" : String(text[..<slash])
    }
}
