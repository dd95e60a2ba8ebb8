import Glibc
import Testing

@testable import Listeners

/// A folder of one test's own, removed with the files in it at the end.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/listeners-XXXXXX".utf8CString)
        let made = try #require(mkdtemp(&template))
        path = String(cString: made)
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    deinit {
        if let folder = opendir(path) {
            while let entry = readdir(folder) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                    tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { unlink("\(path)/\(name)") }
            }
            closedir(folder)
        }
        rmdir(path)
    }
}

/// Connects to a Unix socket: 0, or the error number.
func connectError(_ path: String) -> CInt {
    let client = makeStreamSocket(family: AF_UNIX)
    defer { close(client) }
    return withUnixAddress(Array(path.utf8)) { connect(client, $0, $1) == 0 ? 0 : errno }
}

/// The permission bits and the group of a file.
func access(of path: String) -> (mode: UInt32, group: gid_t)? {
    var status = stat()
    return lstat(path, &status) == 0 ? (status.st_mode & 0o7777, status.st_gid) : nil
}

/// The error of what must fail.
func listenerError<Result>(_ body: () throws(ListenerError) -> Result) -> ListenerError? {
    do throws(ListenerError) {
        _ = try body()
        return nil
    } catch {
        return error
    }
}

/// A bound datagram or stream socket in a test's folder.
func boundSocket(_ path: String, type: __socket_type) throws -> CInt {
    let descriptor = socket(AF_UNIX, CInt(type.rawValue | SOCK_CLOEXEC.rawValue), 0)
    try #require(withUnixAddress(Array(path.utf8)) { bind(descriptor, $0, $1) } == 0)
    return descriptor
}
