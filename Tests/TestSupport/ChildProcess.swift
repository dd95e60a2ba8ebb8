package import Glibc
import Synchronization

/// A program that a test has started, with its output in files; ended by its own process id.
package final class ChildProcess: Sendable {
    package let id: pid_t
    private let folder: TemporaryFolder
    private let exit = Mutex<Int32?>(nil)

    /// Starts a program, found on PATH where its name has no slash.
    ///
    /// - Parameters:
    ///   - environment: its variables, PATH and what sanitizers read added; nothing else of the test's own environment.
    ///   - descriptors: what it finds at descriptor 3 and the following ones.
    package init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], descriptors: [CInt] = []
    ) throws {
        folder = try TemporaryFolder()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        let flags = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, folder.file("stdout"), flags, 0o600)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, folder.file("stderr"), flags, 0o600)
        for (index, descriptor) in descriptors.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, descriptor, 3 + CInt(index))
        }
        // The test runner's signal mask and ignored signals are none of the program's business.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        var argv = ([program] + arguments).map { strdup($0) } + [nil]
        let variables = environment.merging(Sanitizer.variables.merging(["PATH": path]) { $1 }) { given, _ in given }
        var envp = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in argv + envp { free(text) } }
        var started: pid_t = 0
        let code = posix_spawnp(&started, program, &actions, &attributes, &argv, &envp)
        guard code == 0 else { throw TestFailure("cannot start \(program): \(String(cString: strerror(code)))") }
        id = started
        ChildGuard.started(id)
    }

    deinit { end() }

    package var output: String { readFile(folder.file("stdout")) }
    /// The output as one line: what a command breaks at 80 columns.
    package var outputInOneLine: String { output.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
    package var errors: String { readFile(folder.file("stderr")) }

    /// The exit code, or 128 and the signal's number; nil while it runs.
    package var exitCode: Int32? {
        exit.withLock { exit in
            if let exit { return exit }
            var status: Int32 = 0
            guard waitpid(id, &status, WNOHANG) == id else { return nil }
            ChildGuard.ended(id)
            let signal = status & 0x7f
            exit = signal == 0 ? status >> 8 & 0xff : 128 + signal
            return exit
        }
    }

    /// Sends a signal, unless it has ended: its id may be another's by then.
    package func send(_ signal: CInt) {
        guard exitCode == nil else { return }
        kill(id, signal)
    }

    /// Waits for the end and gives the exit code.
    package func wait(seconds: Double = 20) throws -> Int32 {
        guard eventually(within: seconds, { exitCode != nil }), let code = exitCode else {
            throw TestFailure("process \(id) did not end within \(seconds) s; it said: \(errors)")
        }
        return code
    }

    /// Ends it at once; a stopped one as well.
    package func end() {
        guard exitCode == nil else { return }
        kill(id, SIGKILL)
        eventually(within: 10) { exitCode != nil }
    }
}

/// Asks every 2 ms until the answer is yes, and says whether it was in time.
@discardableResult
package func eventually(within seconds: Double, _ condition: () throws -> Bool) rethrows -> Bool {
    let end = ContinuousClock.now + .seconds(seconds)
    while true {
        if try condition() { return true }
        guard ContinuousClock.now < end else { return false }
        usleep(2_000)
    }
}
