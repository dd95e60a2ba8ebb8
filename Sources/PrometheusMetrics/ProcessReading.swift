import Glibc

/// The standard metrics of the process itself, each read when the page is rendered.
enum ProcessReading: CaseIterable, Sendable {
    case cpuSeconds, openDescriptors, maximumDescriptors, residentBytes, startTime

    var description: MetricDescription {
        switch self {
        case .cpuSeconds:
            MetricDescription(
                name: "process_cpu_seconds_total",
                help: "User and system CPU time spent, in seconds.",
                kind: .counter
            )
        case .openDescriptors:
            MetricDescription(name: "process_open_fds", help: "Number of open file descriptors.", kind: .gauge)
        case .maximumDescriptors:
            MetricDescription(name: "process_max_fds", help: "Largest number of open file descriptors.", kind: .gauge)
        case .residentBytes:
            MetricDescription(
                name: "process_resident_memory_bytes",
                help: "Resident memory size in bytes.",
                kind: .gauge
            )
        case .startTime:
            MetricDescription(
                name: "process_start_time_seconds",
                help: "Start time of the process since the Unix epoch, in seconds.",
                kind: .gauge
            )
        }
    }

    /// The sample's text, or nil where the kernel does not tell (no /proc): the page then has no such sample.
    func read() -> String? {
        switch self {
        case .cpuSeconds: nanoseconds(of: CLOCK_PROCESS_CPUTIME_ID).map { secondsText(nanoseconds: $0) }
        case .openDescriptors: openDescriptorCount().map { String($0) }
        case .maximumDescriptors: descriptorLimit().map { String($0) }
        case .residentBytes: residentByteCount().map { String($0) }
        case .startTime: processStartNanoseconds.map { secondsText(nanoseconds: $0) }
        }
    }
}

/// The start does not change, so it is worked out once; a later step of the clock does not move it.
private let processStartNanoseconds: Int64? = {
    guard let stat = contents(of: "/proc/self/stat"), let ticks = startTicks(inStat: stat),
        let now = nanoseconds(of: CLOCK_REALTIME), let sinceBoot = nanoseconds(of: CLOCK_BOOTTIME)
    else { return nil }
    let ticksPerSecond = Int64(sysconf(Int32(_SC_CLK_TCK)))
    guard ticksPerSecond > 0 else { return nil }
    let start = now - sinceBoot + ticks * (1_000_000_000 / ticksPerSecond)
    // A tick is 10 ms: more digits would be noise.
    return start - start % 10_000_000
}()

/// Field 22 of /proc/self/stat. The second field is the program's name in parentheses and may itself hold anything.
func startTicks(inStat stat: String) -> Int64? {
    guard let nameEnd = stat.lastIndex(of: ")") else { return nil }
    let fields = stat[stat.index(after: nameEnd)...].split(whereSeparator: \.isWhitespace)
    guard fields.count > 19 else { return nil }
    return Int64(fields[19])
}

private func residentByteCount() -> Int64? {
    guard let statm = contents(of: "/proc/self/statm") else { return nil }
    let fields = statm.split(whereSeparator: \.isWhitespace)
    guard fields.count > 1, let pages = Int64(fields[1]) else { return nil }
    return pages * Int64(getpagesize())
}

/// Since Linux 6.2 the size of /proc/self/fd is the number of open descriptors; before, they have to be listed.
private func openDescriptorCount() -> Int? {
    var status = stat()
    if stat("/proc/self/fd", &status) == 0, status.st_size > 0 { return Int(status.st_size) }
    guard let folder = opendir("/proc/self/fd") else { return nil }
    defer { closedir(folder) }
    // "." and ".." and the descriptor of this listing do not count. The limit on descriptors bounds the loop.
    var count = -3
    while readdir(folder) != nil { count += 1 }
    return count
}

private func descriptorLimit() -> UInt64? {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
    return UInt64(limit.rlim_cur)
}

private func nanoseconds(of clock: clockid_t) -> Int64? {
    var time = timespec()
    guard clock_gettime(clock, &time) == 0 else { return nil }
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// The first 4,096 bytes of a file of /proc, which are all there are of the two read here.
private func contents(of path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4_096)
    let count = read(descriptor, &bytes, bytes.count)
    guard count > 0 else { return nil }
    return String(decoding: bytes[..<count], as: UTF8.self)
}
