import Glibc

/// Daemons on one Redis, each at a socket that a service manager holds, that are restarted one by one.
package final class Fleet {
    /// The requests that each user has: enough that nobody has used them up before all daemons are exchanged.
    package static let quota = 1_200

    private let redis: RedisServer
    private let folder: TemporaryFolder
    private let sockets: [ListeningSocket]
    private var daemons: [ChildProcess] = []

    /// Starts so many daemons of a program.
    package init(_ count: Int, on redis: RedisServer, program: String = Daemon.program) throws {
        self.redis = redis
        let folder = try TemporaryFolder()
        self.folder = folder
        sockets = try (0..<count).map { try ListeningSocket(folder.file("check-\($0)")) }
        for number in sockets.indices { daemons.append(try start(number, program)) }
    }

    private func start(_ number: Int, _ program: String) throws -> ChildProcess {
        let socket = sockets[number]
        let settings = [
            "REDIS_URL": redis.url, "REDIS_TIMEOUT_MS": "10000", "REQUESTS": "\(Self.quota)", "DENY_CACHE_MS": "0",
            "ADMIN_SOCKET": folder.file("admin-\(number)"),
        ]
        let daemon = try ChildProcess(
            "/bin/sh", ["-c", "LISTEN_PID=$$ exec \"$0\" serve", program],
            environment: Daemon.variables(folder, settings).merging(["LISTEN_FDS": "1"]) { $1 },
            descriptors: [socket.descriptor])
        // Nobody restarts the next one before this one serves.
        let answer = try HTTPConnection(.unix(socket.path), timeoutSeconds: 90).check(newUser())
        guard answer.isAllowed else { throw TestFailure("a daemon does not serve: \(answer.text) \(daemon.errors)") }
        return daemon
    }

    /// Ends one daemon after the other, each as a service manager does, and starts a program in its place.
    package func restart(with program: String = Daemon.program) throws {
        for number in sockets.indices {
            // What it has answered is on its way before it ends.
            pause(milliseconds: 100)
            daemons[number].send(SIGTERM)
            let code = try daemons[number].wait(seconds: 60)
            guard code == 0 else { throw TestFailure("a daemon ended with \(code): \(daemons[number].errors)") }
            daemons[number] = try start(number, program)
        }
    }

    /// The versions that the daemons say they are of.
    package func versions() throws -> [String] {
        try sockets.map { socket in
            let answer = try HTTPConnection(.unix(socket.path), timeoutSeconds: 90).request("GET", "/v1/version")
            return try answer.json["version"] as? String ?? ""
        }
    }

    /// The answers of so many clients while `body` runs, and until each has asked for more than its quota. Each client is a
    /// user, and goes round all daemons, with a connection for each check.
    package func answers(clients count: Int, while body: () throws -> Void) throws -> [[HTTPResponse]] {
        let paths = sockets.map(\.path)
        let isOver = Flag()
        let clients = (0..<count).map { _ in
            Background {
                let user = newUser()
                var answers: [HTTPResponse] = []
                while !isOver.isSet || answers.count <= Self.quota {
                    let path = paths[answers.count % paths.count]
                    answers.append(try HTTPConnection(.unix(path), timeoutSeconds: 90).check(user))
                    pause(milliseconds: 2)
                }
                return answers
            }
        }
        let outcome = Result { try body() }
        isOver.set()
        let answers = clients.map { client in Result { try client.value() } }
        try outcome.get()
        return try answers.map { try $0.get() }
    }
}
