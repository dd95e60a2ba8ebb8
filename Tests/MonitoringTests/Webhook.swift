import Foundation
import Glibc
import Synchronization
import TestSupport

/// A receiver of Alertmanager's messages, each of which it takes and answers with 200.
final class Webhook: Sendable {
    let port: UInt16
    private let descriptor: CInt
    private let bodies = Mutex<[String]>([])

    init() throws {
        port = try freePort()
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0, listen(descriptor, 16) == 0 else { throw TestFailure("cannot listen: errno \(errno)") }
        // It ends when the socket is shut down.
        Thread.detachNewThread { [descriptor, weak self] in
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { return }
                self?.answer(connection)
                close(connection)
            }
        }
    }

    deinit {
        shutdown(descriptor, CInt(SHUT_RDWR))
        close(descriptor)
    }

    /// What was received so far: each request whole, with its head.
    var requests: [String] { bodies.withLock { $0 } }

    /// Takes one request; a connection that says nothing for two seconds is over.
    private func answer(_ connection: CInt) {
        var patience = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var text = ""
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while !Self.isWhole(text) {
            let count = recv(connection, &bytes, bytes.count, 0)
            guard count > 0 else { return }
            text += String(decoding: bytes[..<count], as: UTF8.self)
        }
        bodies.withLock { $0.append(text) }
        let response = Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".utf8)
        send(connection, response, response.count, CInt(MSG_NOSIGNAL))
    }

    private static func isWhole(_ text: String) -> Bool {
        guard let end = text.range(of: "\r\n\r\n")?.upperBound,
            let length = matches(of: "^Content-Length: ([0-9]+)", in: text).first.flatMap({ Int($0) })
        else { return false }
        return text[end...].utf8.count >= length
    }
}
