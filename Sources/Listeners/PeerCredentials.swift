public import Glibc

/// Who is at the other end of a Unix connection, as the kernel recorded it when they connected.
public struct PeerCredentials: Sendable, Equatable {
    /// The process; 0 where it lives in a PID namespace that cannot be seen from here.
    public let processIdentifier: pid_t
    /// The effective user.
    public let userIdentifier: uid_t
    /// The effective group.
    public let groupIdentifier: gid_t

    /// Whether the connections of a listening socket have peers that the kernel knows: Unix sockets do.
    public static func areKnown(on fileDescriptor: CInt) -> Bool {
        socketOption(fileDescriptor, SO_DOMAIN) == AF_UNIX
    }

    /// Reads SO_PEERCRED of a connected Unix socket; fails where `fileDescriptor` is none.
    public init?(fileDescriptor: CInt) {
        // The kernel's struct ucred is three 32-bit numbers: process, user, group.
        var credentials: InlineArray<3, UInt32> = [0, 0, 0]
        var length = socklen_t(MemoryLayout<InlineArray<3, UInt32>>.size)
        guard socketOption(fileDescriptor, SO_DOMAIN) == AF_UNIX,
            getsockopt(fileDescriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0,
            // A socket without a peer has no user: all bits are set.
            credentials[1] != UInt32.max
        else { return nil }
        processIdentifier = pid_t(bitPattern: credentials[0])
        userIdentifier = credentials[1]
        groupIdentifier = credentials[2]
    }
}
