public import Glibc
import Synchronization

/// Tells systemd how the service is doing (the protocol of sd_notify(3)); does nothing where nobody asked.
///
/// A message that cannot be delivered is dropped, and so are all of them where the address cannot be used: the service
/// manager has time-outs of its own for silence, and a service that serves is better than one that ends over a message.
public struct ServiceNotifier: Sendable {
    /// How long a message about a change of state may wait for a service manager that is busy.
    public static let sendWaitMilliseconds = 100
    /// The longest status text in bytes; what is beyond is cut off.
    public static let maximumStatusBytes = 512

    /// How often to call ``watchdog()``: half the time after which systemd takes the service for dead. Nil where no
    /// watchdog is set for this process.
    public let watchdogInterval: Duration?
    /// Whether anybody asked to be told, at an address that can be sent to.
    public var isActive: Bool { !address.isEmpty }

    /// A path, or an abstract name that begins with a zero byte; empty where nobody can be told.
    private let address: [UInt8]
    /// The address as it was given.
    private let text: String
    private let complaint: Complaint

    /// Says what is wrong at most once, however often it goes wrong.
    private final class Complaint: Sendable {
        private let isMade = Atomic(false)
        private let warn: @Sendable (ListenerError) -> Void

        init(_ warn: @escaping @Sendable (ListenerError) -> Void) { self.warn = warn }

        func make(_ problem: ListenerError) {
            if !isMade.exchange(true, ordering: .relaxed) { warn(problem) }
        }
    }

    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    ///
    /// - Parameter warn: Told at most once why the service manager cannot be told, or not of the watchdog:
    ///   ``ListenerError/invalidNotifySocket(_:)``, ``ListenerError/notNotified(address:errorNumber:)`` or
    ///   ``ListenerError/invalidWatchdog(_:)``. Called on the thread of the message that was not delivered.
    public init(
        environment: [String: String], processIdentifier: pid_t = getpid(),
        warn: @escaping @Sendable (ListenerError) -> Void = { _ in }
    ) {
        complaint = Complaint(warn)
        text = environment["NOTIFY_SOCKET"] ?? ""
        address = Self.address(text) ?? []
        guard !text.isEmpty else {
            watchdogInterval = nil
            return
        }
        guard !address.isEmpty else {
            watchdogInterval = nil
            complaint.make(.invalidNotifySocket(text))
            return
        }
        do throws(ListenerError) {
            watchdogInterval = try Self.watchdogInterval(environment, processIdentifier)
        } catch {
            watchdogInterval = nil
            complaint.make(error)
        }
    }

    /// Nil where it is of a kind that cannot be sent to, such as `vsock:` or a relative path.
    private static func address(_ text: String) -> [UInt8]? {
        var bytes = Array(text.utf8)
        guard bytes.count > 1, bytes.count <= UnixListener.maximumPathBytes, !bytes.contains(0) else { return nil }
        switch bytes[0] {
        case UInt8(ascii: "/"): break
        case UInt8(ascii: "@"): bytes[0] = 0
        default: return nil
        }
        return bytes
    }

    private static func watchdogInterval(
        _ environment: [String: String], _ process: pid_t
    ) throws(ListenerError) -> Duration? {
        if let intended = environment["WATCHDOG_PID"], pid_t(intended) != process { return nil }
        guard let text = environment["WATCHDOG_USEC"], !text.isEmpty else { return nil }
        guard let microseconds = Int64(text), microseconds >= 0 else { throw .invalidWatchdog(text) }
        // 0 is systemd's "no watchdog"; faster than a millisecond would be a loop without a pause.
        return microseconds == 0 ? nil : .microseconds(max(microseconds / 2, 1_000))
    }

    /// The service answers, for the first time or again after ``reloading()``.
    @discardableResult
    public func ready(status: String? = nil) -> Bool {
        send("READY=1" + (status.map { "\nSTATUS=\(Self.oneLine($0))" } ?? ""), mayWait: true)
    }

    /// The configuration is being read again; ``ready(status:)`` must follow, also where it was not accepted.
    @discardableResult
    public func reloading() -> Bool {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let microseconds = Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
        return send("RELOADING=1\nMONOTONIC_USEC=\(microseconds)", mayWait: true)
    }

    /// The service is shutting down, which takes at most `milliseconds`: the service manager is asked not to end it
    /// before, also where its own time-out is shorter.
    @discardableResult
    public func stopping(withinMilliseconds milliseconds: Int) -> Bool {
        send("STOPPING=1\nEXTEND_TIMEOUT_USEC=\(milliseconds * 1_000)", mayWait: true)
    }

    /// The service is alive. Never waits, so an event loop can call it, and should: that shows that the loop turns.
    @discardableResult
    public func watchdog() -> Bool {
        send("WATCHDOG=1", mayWait: false)
    }

    /// One line for `systemctl status`. Never waits.
    @discardableResult
    public func status(_ text: String) -> Bool {
        send("STATUS=\(Self.oneLine(text))", mayWait: false)
    }

    /// A line feed in a status would begin another assignment.
    private static func oneLine(_ text: String) -> String {
        var line = ""
        var count = 0
        for scalar in text.unicodeScalars {
            count += scalar.utf8.count
            guard count <= maximumStatusBytes else { break }
            line.unicodeScalars.append(scalar.value < 0x20 ? " " : scalar)
        }
        return line
    }

    /// Whether the message was delivered. A socket for each message keeps this a value that holds nothing open.
    private func send(_ message: String, mayWait: Bool) -> Bool {
        guard isActive else { return false }
        let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else {
            complaint.make(.notNotified(address: text, errorNumber: errno))
            return false
        }
        defer { close(descriptor) }
        var wait = timeval(tv_sec: 0, tv_usec: Self.sendWaitMilliseconds * 1_000)
        let isBounded = setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        let mayBlock = mayWait && isBounded == 0
        let bytes = Array(message.utf8)
        let flags = CInt(MSG_NOSIGNAL) | (mayBlock ? 0 : CInt(MSG_DONTWAIT))
        guard withUnixAddress(address, { sendto(descriptor, bytes, bytes.count, flags, $0, $1) }) < 0 else {
            return true
        }
        // A manager that is busy for a moment hears the next message.
        if mayWait || errno != EAGAIN { complaint.make(.notNotified(address: text, errorNumber: errno)) }
        return false
    }
}
