import Glibc

/// Why a socket cannot be listened on or used. Every text says what would be accepted or done about it.
public enum ListenerError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The path is empty, ends in a slash, has a zero byte or is longer than ``UnixListener/maximumPathBytes``.
    case invalidPath(path: String, reason: String)
    /// The folder that the socket goes into is not there.
    case missingFolder(path: String, folder: String)
    /// Another process of this user held the path's lock for longer than ``UnixListener/lockWaitMilliseconds``.
    case pathLocked(path: String, lockFile: String)
    /// What has the name of the path's lock is no file of this user's.
    case foreignLockFile(path: String, lockFile: String)
    /// Something that is no socket has the path.
    case notASocket(path: String)
    /// A process answers at the path or address.
    case alreadyInUse(address: String)
    /// The group is neither known nor a number.
    case unknownGroup(String)
    /// Bits beyond 0777.
    case invalidMode(UInt32)
    /// The text is no `ADDRESS:PORT` of the kind that is accepted.
    case invalidAddress(String)
    /// The address can be reached from other machines.
    case notLoopback(String)
    /// The machine knows no IPv6, or no IPv4.
    case missingFamily(address: String, isVersion6: Bool)
    /// The service manager's variables or sockets are not as they must be.
    case invalidActivation(reason: String)
    /// `NOTIFY_SOCKET` is no address that can be sent to.
    case invalidNotifySocket(String)
    /// A message to `NOTIFY_SOCKET` was not delivered.
    case notNotified(address: String, errorNumber: CInt)
    /// `WATCHDOG_USEC` is no time.
    case invalidWatchdog(String)
    /// A system call failed for a reason that has no case of its own.
    case system(address: String, call: String, errorNumber: CInt)

    /// The reason in one line.
    public var description: String {
        switch self {
        case .invalidPath(let path, let reason):
            "cannot listen on \"\(path)\": \(reason); a file path of 1 to \(UnixListener.maximumPathBytes) bytes "
                + "is accepted"
        case .missingFolder(let path, let folder):
            "cannot listen on \(path): the folder \(folder) does not exist; make it with: mkdir -p \(folder)"
        case .pathLocked(let path, let lockFile):
            "cannot listen on \(path): another process of this user has held the lock \(lockFile) for "
                + "\(UnixListener.lockWaitMilliseconds) ms; stop it or choose another path"
        case .foreignLockFile(let path, let lockFile):
            "cannot listen on \(path): \(lockFile) is not a file of this user's; remove it, or choose a folder in "
                + "which nobody else can write"
        case .notASocket(let path):
            "cannot listen on \(path): something that is not a socket is there; remove it or choose another path"
        case .alreadyInUse(let address):
            "cannot listen on \(address): another process answers there; stop it or choose another address"
        case .unknownGroup(let group):
            "cannot give the socket to group \"\(group)\": there is no such group; the name of a group or its number "
                + "is accepted"
        case .invalidMode(let mode):
            "cannot set socket mode 0\(String(mode, radix: 8)): 0 to 0777 (octal) is accepted"
        case .invalidAddress(let text):
            "cannot listen on \"\(text)\": not an address; 127.0.0.1:8089, [::1]:8089 or localhost:8089 is accepted, "
                + "port 0 to 65535"
        case .notLoopback(let text):
            "cannot listen on \(text): other machines could reach it; choose a loopback address such as 127.0.0.1, "
                + "or set LLM_RATE_LIMIT_LISTEN_PUBLIC=yes"
        case .missingFamily(let address, let isVersion6):
            "cannot listen on \(address): this machine has no \(isVersion6 ? "IPv6" : "IPv4"); an address of "
                + "\(isVersion6 ? "IPv4, such as 127.0.0.1 or 0.0.0.0," : "IPv6, such as [::1] or [::],") is accepted"
        case .invalidActivation(let reason):
            "cannot use the sockets of the service manager: \(reason)"
        case .invalidNotifySocket(let text):
            "cannot notify the service manager at NOTIFY_SOCKET \"\(text)\": an absolute path, or @ and a name, of at "
                + "most \(UnixListener.maximumPathBytes) bytes is accepted"
        case .notNotified(let address, let errorNumber):
            "cannot notify the service manager at NOTIFY_SOCKET \"\(address)\": \(errorText(errorNumber))"
        case .invalidWatchdog(let text):
            "cannot tell the watchdog: WATCHDOG_USEC is \"\(text)\"; whole microseconds are accepted"
        case .system(let address, let call, let errorNumber):
            "cannot listen on \(address): \(call): \(errorText(errorNumber))"
        }
    }
}

extension ListenerError {
    /// Whether it says that the machine does not have the address, or nothing of its family.
    var isMissingAddress: Bool {
        switch self {
        case .missingFamily, .system(_, _, EADDRNOTAVAIL): true
        default: false
        }
    }
}

/// The system's text for an error number. glibc's strerror keeps its text for each thread apart.
func errorText(_ number: CInt) -> String {
    strerror(number).map { String(cString: $0) } ?? "error \(number)"
}
