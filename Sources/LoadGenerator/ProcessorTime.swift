import Glibc

/// A process whose processor time a load accounts for.
public struct WatchedProcess: Sendable, Equatable {
    /// What the report calls it: `daemon`, `redis`.
    public let name: String
    /// Its process id.
    public let id: Int32

    /// A name for the report and a process id.
    public init(name: String, id: Int32) {
        self.name = name
        self.id = id
    }
}

/// The processor time of every living thread of a process so far, in nanoseconds (`/proc/<pid>/task/*/schedstat`).
///
/// The scheduler brings a running thread's figure up to date at each tick, so a difference is right to a few
/// milliseconds. Threads that end between two readings take their time with them.
///
/// - Returns: nil when there is no such process or the kernel keeps no such statistics.
public func processorNanoseconds(of process: Int32) -> UInt64? {
    guard let directory = opendir("/proc/\(process)/task") else { return nil }
    defer { closedir(directory) }
    var sum: UInt64 = 0
    var found = false
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
            pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name != ".", name != "..", let text = readSmallFile("/proc/\(process)/task/\(name)/schedstat"),
            let field = text.split(separator: " ").first, let nanoseconds = UInt64(field)
        else { continue }
        sum += nanoseconds
        found = true
    }
    return found ? sum : nil
}

/// Resident memory of a process in KiB (`VmRSS`); nil when there is no such process.
public func residentKibibytes(of process: Int32) -> Int? { kibibytes("VmRSS:", of: process) }

/// Resident memory of a process that is no file's, in KiB (`RssAnon`): what it has allocated, without the pages of the
/// program; nil when there is no such process.
public func anonymousKibibytes(of process: Int32) -> Int? { kibibytes("RssAnon:", of: process) }

private func kibibytes(_ name: String, of process: Int32) -> Int? {
    guard let status = readSmallFile("/proc/\(process)/status") else { return nil }
    for line in status.split(separator: "\n") where line.hasPrefix(name) {
        return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) }
    }
    return nil
}

/// The first 256 KiB of a file as text; nil when it cannot be opened.
public func readSmallFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 262_144)
    var filled = 0
    while filled < bytes.count {
        let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + filled, $0.count - filled) }
        if count <= 0 { break }
        filled += count
    }
    return String(decoding: bytes[..<filled], as: UTF8.self)
}

/// A clock that never steps back, in nanoseconds.
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
