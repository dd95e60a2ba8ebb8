import LimitsFile

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// What the file system says of a file: another one in its place, and a change to its content, its permissions or its
/// owner, show in it; of a folder, also what it says of the files of a configuration of Envoy's in it.
public struct FileState: Sendable, Hashable {
    private let device: UInt64
    private let number: UInt64
    private let size: Int
    private let changedSeconds: Int
    private let changedNanoseconds: Int
    private let modifiedSeconds: Int
    private let modifiedNanoseconds: Int
    private let files: [String: FileState]

    /// Looks at the file that a path leads to, through symbolic links; nil where none can be looked at.
    public init?(path: String) { self.init(path: path, looksIntoFolders: true) }

    private init?(path: String, looksIntoFolders: Bool) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        number = UInt64(status.st_ino)
        size = Int(status.st_size)
        // A chmod changes this time alone.
        changedSeconds = status.st_ctim.tv_sec
        changedNanoseconds = status.st_ctim.tv_nsec
        modifiedSeconds = status.st_mtim.tv_sec
        modifiedNanoseconds = status.st_mtim.tv_nsec
        var files: [String: FileState] = [:]
        if looksIntoFolders, status.st_mode & S_IFMT == S_IFDIR {
            // A folder that cannot be used is read again now and then, whatever its files are.
            for file in (try? EnvoyConfiguration.files(at: path)) ?? [] {
                files[file] = FileState(path: file, looksIntoFolders: false)
            }
        }
        self.files = files
    }
}

/// Decides at each look whether a file is to be read, from what the file system says of it: a value that neither reads
/// nor has a clock.
///
/// A file counts once nothing of it has changed for ``stillness``: until then somebody may be writing it. What could not
/// be read is read again when it has changed, and now and then where it has not, since the reason may lie elsewhere: in
/// the permissions of a folder, or in a file that it refers to.
public struct FileWatch: Sendable {
    /// How long nothing of a file may have changed before it is read.
    public static let stillness = Duration.seconds(3)
    /// After how long a file that could not be read, and is the same, is read again: each time twice as long.
    public static let retryDelays = Duration.seconds(1)...Duration.seconds(30)

    private enum Progress {
        case changing(since: ContinuousClock.Instant)
        case inForce
        case failed(retryAt: ContinuousClock.Instant, lastDelay: Duration)
    }

    /// The file at the last look; nil where there was none.
    private var state: FileState?
    private var progress: Progress?

    /// A watch that knows nothing of what is in force, so that the file is read once when it has held still.
    public init() {}

    /// Takes a look.
    ///
    /// - Parameter state: the file as it is now; nil where there is none, which is a state like others.
    /// - Returns: whether it is to be read now; ``didRead(isInForce:at:)`` must follow where it was.
    public mutating func look(_ state: FileState?, at now: ContinuousClock.Instant) -> Bool {
        guard let progress, state == self.state else {
            self.state = state
            self.progress = .changing(since: now)
            return false
        }
        switch progress {
        case .changing(let since): return now - since >= Self.stillness
        case .inForce: return false
        case .failed(let retryAt, _): return now >= retryAt
        }
    }

    /// Notes how the reading went that ``look(_:at:)`` asked for, where the file was the same before and after it.
    public mutating func didRead(isInForce: Bool, at now: ContinuousClock.Instant) {
        guard !isInForce else {
            progress = .inForce
            return
        }
        var delay = Self.retryDelays.lowerBound
        if case .failed(_, let lastDelay) = progress { delay = min(lastDelay * 2, Self.retryDelays.upperBound) }
        progress = .failed(retryAt: now + delay, lastDelay: delay)
    }
}
