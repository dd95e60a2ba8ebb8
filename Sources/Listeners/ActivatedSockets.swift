public import Glibc

/// Listening sockets that systemd opened and handed over (socket activation, see sd_listen_fds(3)).
public struct ActivatedSockets: Sendable, Equatable {
    /// The most sockets that are looked at.
    public static let maximumSockets = 16

    /// The Unix socket that answers checks.
    public var check: CInt?
    /// The Unix socket that answers operations which change state.
    public var admin: CInt?
    /// The TCP socket.
    public var tcp: CInt?
    /// The Unix or TCP socket that speaks gRPC.
    public var grpc: CInt?

    /// Whether no socket was handed over.
    public var isEmpty: Bool { check == nil && admin == nil && tcp == nil && grpc == nil }

    /// Takes over the sockets meant for this process, and unsets the variables so that no child takes them too.
    ///
    /// `FileDescriptorName=` of the socket unit says what a socket is for: `check`, `admin`, `tcp` or `grpc`. Of the sockets
    /// with another name (systemd's default is the unit's name) the first Unix socket is `check` and the first TCP
    /// socket is `tcp`. Every socket is set to close on exec and not to block. What is not as it must be is an error and
    /// not passed over: the service manager would hold sockets on which nobody answers.
    ///
    /// - Parameters:
    ///   - environment: The process's variables; `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` are read.
    ///   - processIdentifier: The process that `LISTEN_PID` must name; for another one there is nothing here.
    ///   - firstDescriptor: The first of the sockets; systemd's is 3.
    ///   - unset: Removes a variable. The default changes the process's environment, which only a program that has no
    ///     other thread yet may do.
    /// - Throws: ``ListenerError/invalidActivation(reason:)`` for variables or sockets that are not as above.
    public static func fromEnvironment(
        _ environment: [String: String],
        processIdentifier: pid_t = getpid(),
        firstDescriptor: CInt = 3,
        unset: (String) -> Void = { unsetenv($0) }
    ) throws(ListenerError) -> ActivatedSockets {
        var sockets = ActivatedSockets()
        guard let intended = environment["LISTEN_PID"], let countText = environment["LISTEN_FDS"],
            !intended.isEmpty, !countText.isEmpty
        else { return sockets }
        guard let intendedProcess = pid_t(intended) else {
            throw .invalidActivation(reason: "LISTEN_PID is \"\(intended)\"; a process number is accepted")
        }
        guard intendedProcess == processIdentifier else { return sockets }
        guard let count = Int(countText), (0...maximumSockets).contains(count) else {
            throw .invalidActivation(reason: "LISTEN_FDS is \"\(countText)\"; 0 to \(maximumSockets) is accepted")
        }
        let names = environment["LISTEN_FDNAMES"]?.split(separator: ":", omittingEmptySubsequences: false) ?? []
        guard names.isEmpty || names.count == count else {
            throw .invalidActivation(reason: "LISTEN_FDNAMES has \(names.count) names for \(count) sockets")
        }
        for index in 0..<count {
            let name = index < names.count ? String(names[index]) : ""
            try sockets.adopt(firstDescriptor + CInt(index), name: name)
        }
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unset(variable) }
        return sockets
    }

    private mutating func adopt(_ descriptor: CInt, name: String) throws(ListenerError) {
        let label = "descriptor \(descriptor) (name \"\(name)\")"
        guard socketOption(descriptor, SO_ACCEPTCONN) == 1, let family = socketOption(descriptor, SO_DOMAIN) else {
            throw .invalidActivation(reason: "\(label) is not a listening socket; ListenStream= is accepted")
        }
        guard let place = place(name: name, family: family) else {
            throw .invalidActivation(
                reason: "\(label) is of the wrong kind for its name; Unix sockets for check and admin, a TCP "
                    + "socket for tcp, and either for grpc, are accepted"
            )
        }
        guard self[keyPath: place] == nil else {
            throw .invalidActivation(
                reason: "\(label) is one too many; one each for check, admin, tcp and grpc is accepted, named with "
                    + "FileDescriptorName="
            )
        }
        let status = fcntl(descriptor, F_GETFL)
        guard fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0, status >= 0,
            fcntl(descriptor, F_SETFL, status | O_NONBLOCK) == 0
        else {
            throw .invalidActivation(reason: "\(label): fcntl: \(errorText(errno))")
        }
        self[keyPath: place] = descriptor
    }

    /// Where a socket of that name and family goes.
    private func place(name: String, family: CInt) -> WritableKeyPath<ActivatedSockets, CInt?>? {
        let isUnix = family == AF_UNIX
        let isTCP = family == AF_INET || family == AF_INET6
        switch name {
        case "check": return isUnix ? \.check : nil
        case "admin": return isUnix ? \.admin : nil
        case "tcp": return isTCP ? \.tcp : nil
        case "grpc": return isUnix || isTCP ? \.grpc : nil
        default: return isUnix ? \.check : isTCP ? \.tcp : nil
        }
    }
}
