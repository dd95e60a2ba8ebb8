import Glibc

/// The datagram socket of a service manager, to which a daemon sends its state (sd_notify).
package final class NotifySocket: Sendable {
    package let path: String
    private let descriptor: CInt

    package init(in folder: TemporaryFolder) throws {
        path = folder.file("notify")
        descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let code = withUnixAddress(path) { bind(descriptor, $0, $1) }
        guard code == 0 else { throw TestFailure("cannot bind \(path): errno \(errno)") }
    }

    deinit { close(descriptor) }

    /// The next message; nil where none comes in time.
    package func next(withinMilliseconds milliseconds: Int = 10_000) -> String? {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&poller, 1, CInt(milliseconds)) == 1 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// Waits for a message that begins so, past others.
    package func waits(for start: String) -> Bool {
        for _ in 0..<1_000 {
            guard let message = next() else { return false }
            if message.hasPrefix(start) { return true }
        }
        return false
    }
}

/// A listening Unix socket as a service manager makes it for a service.
package final class ListeningSocket: Sendable {
    package let descriptor: CInt
    package let path: String

    package init(_ path: String) throws {
        self.path = path
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let code = withUnixAddress(path) { bind(descriptor, $0, $1) == 0 ? listen(descriptor, 16) : -1 }
        guard code == 0 else { throw TestFailure("cannot listen on \(path): errno \(errno)") }
    }

    deinit { close(descriptor) }
}
