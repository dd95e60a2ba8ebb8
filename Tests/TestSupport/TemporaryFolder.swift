import Foundation
import Glibc

/// A folder of one test's own, removed with the files in it at the end.
package final class TemporaryFolder: Sendable {
    package let path: String

    package init() throws {
        // Short, since a Unix socket's path has at most 107 bytes.
        var template = Array("/tmp/lrl-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFailure("no temporary folder: errno \(errno)") }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a file and gives its path.
    @discardableResult
    package func write(_ text: String, to name: String, mode: UInt32 = 0o600) throws -> String {
        let path = file(name)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode_t(mode))
        guard descriptor >= 0 else { throw TestFailure("cannot write \(path): errno \(errno)") }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw TestFailure("cannot write \(path)")
        }
        return path
    }

    /// Removes it before its end.
    package func remove() { try? FileManager.default.removeItem(atPath: path) }

    deinit { remove() }
}

/// The whole of a small file; empty where there is none.
package func readFile(_ path: String) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var text: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = read(descriptor, &part, part.count)
        guard count > 0 else { return String(decoding: text, as: UTF8.self) }
        text += part[..<count]
    }
}

/// The permission bits and the group of a file; nil where there is none.
package func access(of path: String) -> (mode: UInt32, group: UInt32)? {
    var status = stat()
    return lstat(path, &status) == 0 ? (status.st_mode & 0o7777, status.st_gid) : nil
}
