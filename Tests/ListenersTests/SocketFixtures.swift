import Glibc
import Testing

@testable import Listeners

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
