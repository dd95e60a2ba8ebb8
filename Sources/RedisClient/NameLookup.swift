import Glibc
import NIOCore
import NIOPosix

/// Why a host name led to no address.
enum NameLookupError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system's word for it.
    case unresolved(host: String, reason: String)

    var description: String {
        switch self {
        case .unresolved(let host, let reason): "cannot look up \(host): \(reason)"
        }
    }
}

/// The addresses of a host name, looked up off the event loop and remembered.
///
/// A lookup blocks a thread, for many seconds where the name server is silent. So there is one at a time; an attempt to
/// connect waits for it briefly, and then goes where the name led the last time. A name server that is away does not
/// keep the daemon from a Redis that is there. Not thread-safe: used on ``eventLoop`` alone.
final class NameLookup {
    /// How long an attempt to connect waits for a lookup where an older answer is known.
    static let patience = TimeAmount.milliseconds(100)

    /// The addresses for one attempt to connect, as NIO asks for them.
    struct Answer: Resolver, Sendable {
        fileprivate let addresses: EventLoopFuture<[SocketAddress]>

        func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
            addresses.map { $0.filter { $0.protocol == .inet } }
        }

        func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
            addresses.map { $0.filter { $0.protocol == .inet6 } }
        }

        func cancelQueries() {}
    }

    private let eventLoop: any EventLoop
    private let lookUp: @Sendable () throws -> [SocketAddress]
    private var known: [SocketAddress] = []
    private var running: EventLoopFuture<[SocketAddress]>?

    /// - Parameter lookUp: blocks until the addresses are known.
    init(eventLoop: any EventLoop, lookUp: @escaping @Sendable () throws -> [SocketAddress]) {
        self.eventLoop = eventLoop
        self.lookUp = lookUp
    }

    convenience init(host: String, port: Int, eventLoop: any EventLoop) {
        self.init(eventLoop: eventLoop) { try Self.addresses(of: host, port: port) }
    }

    /// What the name leads to now, or led to the last time.
    func answer() -> Answer {
        let promise = eventLoop.makePromise(of: [SocketAddress].self)
        var patience: Scheduled<Void>?
        if !known.isEmpty {
            let known = known
            patience = eventLoop.scheduleTask(in: Self.patience) { promise.succeed(known) }
        }
        (running ?? start()).assumeIsolated().whenComplete { [weak self] result in
            patience?.cancel()
            switch result {
            case .success(let addresses): promise.succeed(addresses)
            case .failure(let error):
                if let known = self?.known, !known.isEmpty { promise.succeed(known) } else { promise.fail(error) }
            }
        }
        return Answer(addresses: promise.futureResult)
    }

    private func start() -> EventLoopFuture<[SocketAddress]> {
        let lookUp = lookUp
        let future = NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { try lookUp() }
        running = future
        future.assumeIsolated().whenComplete { [weak self] result in
            self?.running = nil
            if case .success(let addresses) = result { self?.known = addresses }
        }
        return future
    }

    /// Asks the system's resolver, which blocks.
    private static func addresses(of host: String, port: Int) throws(NameLookupError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &first)
        guard code == 0, let first else {
            let reason = code == EAI_SYSTEM ? String(cString: strerror(errno)) : String(cString: gai_strerror(code))
            throw .unresolved(host: host, reason: reason)
        }
        defer { freeaddrinfo(first) }
        return sequence(first: first, next: { $0.pointee.ai_next }).compactMap { info in
            guard let address = info.pointee.ai_addr else { return nil }
            // Each address begins with its family, which says what else it is.
            switch info.pointee.ai_family {
            case AF_INET:
                return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    SocketAddress($0.pointee, host: host)
                }
            case AF_INET6:
                return address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    SocketAddress($0.pointee, host: host)
                }
            default: return nil
            }
        }
    }
}
