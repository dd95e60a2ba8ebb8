import Glibc

/// The longest wait of accepted connections; the kernel lowers it to `net.core.somaxconn`.
public let listenBacklog: CInt = 1_024

/// Calls `body` with the socket address of a Unix path, or of an abstract name where the first byte is 0.
///
/// - Precondition: 1 to ``UnixListener/maximumPathBytes`` bytes.
func withUnixAddress<Result>(_ name: [UInt8], _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    var address = sockaddr_un()
    precondition(!name.isEmpty && name.count < MemoryLayout.size(ofValue: address.sun_path))
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    // A path ends with its zero byte; an abstract name is exactly as long as it says.
    let terminator = name[0] == 0 ? 0 : 1
    let length = MemoryLayout<sa_family_t>.size + name.count + terminator
    return withGenericAddress(&address) { generic, _ in body(generic, socklen_t(length)) }
}

/// Calls `body` with a pointer to `address` as the system calls take it.
///
/// Every `sockaddr_…` begins with the members of `sockaddr` and is at least as aligned, so reading it through that
/// type is what POSIX prescribes; the pointer is valid during `body` alone.
func withGenericAddress<Address, Result>(
    _ address: inout Address,
    _ body: (UnsafeMutablePointer<sockaddr>, socklen_t) -> Result
) -> Result {
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<Address>.size))
        }
    }
}

/// A stream socket that is closed on exec and does not block, or -1 with `errno`.
func makeStreamSocket(family: CInt) -> CInt {
    socket(family, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
}

/// A whole-number socket option, or nil where `fileDescriptor` is no socket that has it.
func socketOption(_ fileDescriptor: CInt, level: CInt = SOL_SOCKET, _ option: CInt) -> CInt? {
    var value: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    guard getsockopt(fileDescriptor, level, option, &value, &length) == 0 else { return nil }
    return value
}

/// Sets a whole-number socket option; false with `errno` where that failed.
func setSocketOption(_ fileDescriptor: CInt, level: CInt = SOL_SOCKET, _ option: CInt, to value: CInt) -> Bool {
    var value = value
    return setsockopt(fileDescriptor, level, option, &value, socklen_t(MemoryLayout<CInt>.size)) == 0
}
