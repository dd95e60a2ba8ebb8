public import Glibc
public import Logging
import Synchronization

/// The file descriptor that all loggers write to, and the level that holds for all of them at once.
///
/// Logging must never stop a check: a line that cannot be written at once (a full disk, a reader that has stopped or
/// gone away) is dropped and counted.
public final class LogOutput: Sendable {
    /// The longest line in bytes, its line feed included.
    ///
    /// On a pipe it is `PIPE_BUF` (4,096) instead: up to there a write is atomic, and a pipe that polls as writable
    /// takes it without waiting.
    public static let maximumLineBytes = 8_192

    private enum Target {
        case pipe, socket, file
    }

    /// The longest line in bytes that this output takes, its line feed included.
    let lineLimit: Int
    private let fileDescriptor: CInt
    private let target: Target
    private let levelIndex: Atomic<Int>
    private let lost = Atomic<UInt64>(0)
    // Held over poll and write, so that the room that poll saw is not taken by another thread's line.
    private let turn = Mutex<Void>(())

    /// Writes to `fileDescriptor`, which stays the caller's and must stay open.
    ///
    /// Where it is a pipe, SIGPIPE is ignored for the whole process from here on: a reader that goes away must not
    /// end the daemon.
    public init(fileDescriptor: CInt = STDERR_FILENO, level: Logger.Level = .info) {
        self.fileDescriptor = fileDescriptor
        target = Self.target(of: fileDescriptor)
        lineLimit = target == .pipe ? Int(PIPE_BUF) : Self.maximumLineBytes
        levelIndex = Atomic(Self.index(of: level))
        if target == .pipe { signal(SIGPIPE, SIG_IGN) }
    }

    /// The level that holds, from the moment it is set, for every logger that was not given one of its own.
    public var level: Logger.Level {
        get { Self.levels[levelIndex.load(ordering: .relaxed)] }
        set { levelIndex.store(Self.index(of: newValue), ordering: .relaxed) }
    }

    /// The number of lines that could not be written.
    public var lostLines: UInt64 { lost.load(ordering: .relaxed) }

    /// Writes a whole line with one system call that does not wait, or counts it as lost.
    func write(_ line: [UInt8]) {
        let written = turn.withLock { _ in attempt(line) }
        if written != line.count { lost.wrappingAdd(1, ordering: .relaxed) }
    }

    private func attempt(_ line: [UInt8]) -> Int {
        if target == .socket {
            return send(fileDescriptor, line, line.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
        }
        var poller = pollfd(fd: fileDescriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&poller, 1, 0) == 1, poller.revents & Int16(POLLOUT) != 0 else { return -1 }
        return Glibc.write(fileDescriptor, line, line.count)
    }

    private static func target(of fileDescriptor: CInt) -> Target {
        var status = stat()
        guard fstat(fileDescriptor, &status) == 0 else { return .file }
        switch status.st_mode & S_IFMT {
        case S_IFIFO: return .pipe
        case S_IFSOCK: return .socket
        default: return .file
        }
    }

    private static let levels = Logger.Level.allCases

    private static func index(of level: Logger.Level) -> Int {
        levels.firstIndex(of: level) ?? 0
    }
}
