public import Glibc

/// Tells systemd how the service is doing (the protocol of sd_notify(3)); does nothing where nobody asked.
///
/// A message that cannot be delivered is dropped: the service manager has time-outs of its own for silence.
public struct ServiceNotifier: Sendable {
    /// How long a message about a change of state may wait for a service manager that is busy.
    public static let sendWaitMilliseconds = 100
    /// The longest status text in bytes; what is beyond is cut off.
    public static let maximumStatusBytes = 512

    /// How often to call ``watchdog()``: half the time after which systemd takes the service for dead. Nil where no
    /// watchdog is set for this process.
    public let watchdogInterval: Duration?
    /// Whether anybody asked to be told.
    public var isActive: Bool { !address.isEmpty }

    /// A path, or an abstract name that begins with a zero byte; empty where nobody asked.
    private let address: [UInt8]

    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    ///
    /// - Throws: ``ListenerError/invalidNotifySocket(_:)`` for an address of another kind (such as `vsock:`).
    public init(environment: [String: String], processIdentifier: pid_t = getpid()) throws(ListenerError) {
        let text = environment["NOTIFY_SOCKET"] ?? ""
        var bytes = Array(text.utf8)
        if let first = bytes.first {
            let isKnown = first == UInt8(ascii: "/") || first == UInt8(ascii: "@")
            guard isKnown, bytes.count > 1, bytes.count <= UnixListener.maximumPathBytes, !bytes.contains(0) else {
                throw .invalidNotifySocket(text)
            }
            if first == UInt8(ascii: "@") { bytes[0] = 0 }
        }
        address = bytes
        watchdogInterval = Self.watchdogInterval(environment, processIdentifier)
    }

    private static func watchdogInterval(_ environment: [String: String], _ process: pid_t) -> Duration? {
        if let intended = environment["WATCHDOG_PID"], pid_t(intended) != process { return nil }
        guard let microseconds = environment["WATCHDOG_USEC"].flatMap({ Int64($0) }), microseconds > 1 else {
            return nil
        }
        return .microseconds(microseconds / 2)
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

    /// The service is shutting down.
    @discardableResult
    public func stopping() -> Bool {
        send("STOPPING=1", mayWait: true)
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
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var wait = timeval(tv_sec: 0, tv_usec: Self.sendWaitMilliseconds * 1_000)
        let isBounded = setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        let mayBlock = mayWait && isBounded == 0
        let bytes = Array(message.utf8)
        let flags = CInt(MSG_NOSIGNAL) | (mayBlock ? 0 : CInt(MSG_DONTWAIT))
        return withUnixAddress(address) { sendto(descriptor, bytes, bytes.count, flags, $0, $1) } == bytes.count
    }
}
