import Glibc

/// The variables through which systemd speaks to a service.
public enum ServiceEnvironment {
    private static let names = [
        "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
    ]

    /// Those of them that are set now, for ``ActivatedSockets`` and ``ServiceNotifier``. To be read at the start:
    /// another thread that changes the environment meanwhile would be a race.
    public static var current: [String: String] {
        var found: [String: String] = [:]
        for name in names {
            if let value = getenv(name) { found[name] = String(cString: value) }
        }
        return found
    }
}
