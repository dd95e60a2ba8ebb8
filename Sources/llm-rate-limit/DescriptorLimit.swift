import Glibc

/// How many file descriptors the process may open, and how many of them connections may have.
///
/// Connections that took the last one would keep the daemon from connecting to Redis again.
enum DescriptorLimit {
    /// Raises the limit to what `connections` need, as far as the system lets it, and gives the limit in force; nil where
    /// it cannot be known.
    static func raise(forConnections connections: Int, threads: Int) -> Int? {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return nil }
        let wanted = min(rlim_t(connections + reserve(threads: threads)), limit.rlim_max)
        if limit.rlim_cur < wanted {
            var raised = limit
            raised.rlim_cur = wanted
            if setrlimit(resource, &raised) == 0 { limit = raised }
        }
        return Int(clamping: limit.rlim_cur)
    }

    /// How many connections may be open when `wanted` are asked for.
    static func connections(_ wanted: Int, descriptors: Int?, threads: Int) -> Int {
        guard let descriptors else { return wanted }
        return max(1, min(wanted, descriptors - reserve(threads: threads)))
    }

    /// What the daemon opens besides: listeners, log, lookups and files, and of each event loop its poller, its link to
    /// Redis, a link on its way, and a connection that is about to be refused.
    private static func reserve(threads: Int) -> Int { 32 + 8 * threads }
}
