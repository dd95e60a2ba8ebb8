import Glibc
import Testing

/// A real redis-server of one test's own, on a Unix socket in a folder of its own; ended by its process number.
final class RedisServer: Sendable {
    let socketPath: String
    private let folder: TemporaryFolder
    private let process: pid_t

    /// Starts a server and returns when it listens; `options` are further words of its command line.
    convenience init(options: [String] = []) async throws {
        try await self.init(in: TemporaryFolder(), options: options)
    }

    /// Starts a server whose socket and files are in a folder that outlives it.
    init(in folder: TemporaryFolder, options: [String] = []) async throws {
        self.folder = folder
        socketPath = folder.file("redis.sock")
        unlink(socketPath)
        let words = [
            "redis-server", "--port", "0", "--unixsocket", socketPath, "--dir", folder.path, "--save", "", "--appendonly",
            "no", "--logfile", folder.file("redis.log"),
        ]
        process = try Self.spawn(words + options)
        for _ in 0..<2_000 where access(socketPath, F_OK) != 0 { try await Task.sleep(for: .milliseconds(5)) }
        try #require(access(socketPath, F_OK) == 0, "redis-server does not listen")
    }

    deinit {
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
    }

    private static func spawn(_ words: [String]) throws -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process: pid_t = 0
        let result = posix_spawnp(&process, words[0], nil, nil, &arguments, environ)
        try #require(result == 0, "cannot start redis-server: \(String(cString: strerror(result)))")
        return process
    }
}
