import Glibc

/// How many files and sockets this process may have open (RLIMIT_NOFILE).
public enum DescriptorLimit {
    /// Raises the soft limit as far as `connections` need it and the hard limit lets it.
    ///
    /// - Parameter others: What the process opens beside connections.
    /// - Returns: How many connections there is room for: at least 1, at most `connections`.
    public static func makeRoom(connections: Int, others: Int) -> Int {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0 else { return connections }
        let needed = rlim_t(connections + others)
        if limit.rlim_cur < needed, limit.rlim_cur < limit.rlim_max {
            var raised = limit
            raised.rlim_cur = min(needed, limit.rlim_max)
            if setrlimit(resource, &raised) == 0 { limit = raised }
        }
        guard limit.rlim_cur < needed else { return connections }
        return max(1, Int(limit.rlim_cur) - others)
    }
}
