import Glibc
import LoadGenerator

/// A program that the benchmark has started and ends again, by its process id.
final class ChildProcess {
    private static let capacity = 16
    /// Who is running, where a signal handler can read it: plain memory that is never freed, 0 for a free place.
    private nonisolated(unsafe) static let running: UnsafeMutablePointer<pid_t> = {
        let places = UnsafeMutablePointer<pid_t>.allocate(capacity: capacity)
        places.initialize(repeating: 0, count: capacity)
        return places
    }()

    let name: String
    let id: pid_t
    private let logPath: String
    private var ended = false

    /// Starts a program (found on PATH where its name has no slash) with its output in a file.
    init(_ name: String, _ arguments: [String], environment: [String: String] = [:], log: String) throws(BenchError) {
        self.name = name
        logPath = log
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)

        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        let variables = environment.merging(["PATH": path]) { given, _ in given }.map { "\($0)=\($1)" }
        var argv = ([name] + arguments).map { strdup($0) } + [nil]
        var envp = variables.map { strdup($0) } + [nil]
        defer { for text in argv + envp { free(text) } }
        var started: pid_t = 0
        let code = posix_spawnp(&started, name, &actions, nil, &argv, &envp)
        guard code == 0 else { throw .cannotStart(program: name, reason: reason(code)) }
        id = started
        for place in 0..<Self.capacity where Self.running[place] == 0 {
            Self.running[place] = id
            break
        }
    }

    deinit {
        end()
    }

    /// What went wrong, once it has ended by itself: the last lines of its output. nil while it runs.
    func failure() -> BenchError? {
        var status: Int32 = 0
        guard !ended, waitpid(id, &status, WNOHANG) == id else { return nil }
        forget()
        let said = (readSmallFile(logPath) ?? "").split(separator: "\n").suffix(5).joined(separator: "\n  ")
        return .cannotStart(program: name, reason: said.isEmpty ? "it ended and said nothing" : "it ended:\n  \(said)")
    }

    /// Ends it by SIGTERM and, where five seconds do not suffice, by SIGKILL.
    func end() {
        if ended { return }
        kill(id, SIGTERM)
        for attempt in 0..<1_000 {
            if attempt == 500 { kill(id, SIGKILL) }
            if waitpid(id, nil, WNOHANG) != 0 { break }
            usleep(10_000)
        }
        forget()
    }

    /// Has SIGINT and SIGTERM end whatever runs before they end the benchmark itself.
    static func endAllOnSignal() {
        _ = running  // Made here: a handler must not be the first to ask for it.
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { number in
                for place in 0..<ChildProcess.capacity where ChildProcess.running[place] > 0 {
                    kill(ChildProcess.running[place], SIGTERM)
                }
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }

    private func forget() {
        ended = true
        for place in 0..<Self.capacity where Self.running[place] == id { Self.running[place] = 0 }
    }
}

/// A folder of the benchmark's own, in TMPDIR or /tmp, removed with its files when nobody needs it any more.
final class TemporaryFolder {
    let path: String

    init() throws(BenchError) {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/bench-table-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw .cannotMakeFolder(reason: reason()) }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    deinit {
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                unlink("\(path)/\(name)")
            }
            closedir(directory)
        }
        rmdir(path)
    }
}
