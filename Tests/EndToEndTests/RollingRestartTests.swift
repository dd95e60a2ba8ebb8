import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

extension EndToEnd {
    /// An upgrade of a fleet: daemons on one Redis, each at a socket that a service manager holds, restarted one by one.
    @Suite("A rolling restart")
    struct RollingRestartTests {
        private let redis: RedisServer
        private let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func start(_ number: Int, at socket: ListeningSocket) throws -> ChildProcess {
            let settings = [
                "REDIS_URL": redis.url, "REDIS_TIMEOUT_MS": "10000", "REQUESTS": "\(Self.quota)", "DENY_CACHE_MS": "0",
                "ADMIN_SOCKET": folder.file("admin-\(number)"),
            ]
            let daemon = try ChildProcess(
                "/bin/sh", ["-c", "LISTEN_PID=$$ exec \"$0\" serve", Daemon.program],
                environment: Daemon.variables(folder, settings).merging(["LISTEN_FDS": "1"]) { $1 },
                descriptors: [socket.descriptor])
            // Nobody restarts the next one before this one serves.
            #expect(try HTTPConnection(.unix(socket.path), timeoutSeconds: 90).check(newUser()).isAllowed)
            return daemon
        }

        private static let quota = 400

        @Test("Of four daemons under load: every check is answered, and each user has the whole quota and no more")
        func fourDaemons() throws {
            let sockets = try (0..<4).map { try ListeningSocket(folder.file("check-\($0)")) }
            var daemons = try sockets.enumerated().map { try start($0.offset, at: $0.element) }
            let paths = sockets.map(\.path)
            let isOver = Flag()
            // Each client is a user, and goes round all daemons, with a connection for each check.
            let clients = (0..<4).map { _ in
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
            for number in sockets.indices {
                // What it has answered is on its way before it ends.
                pause(milliseconds: 100)
                daemons[number].send(SIGTERM)
                #expect(try daemons[number].wait(seconds: 60) == 0)
                daemons[number] = try start(number, at: sockets[number])
            }
            isOver.set()
            for client in clients {
                let answers = try client.value()
                let degraded = answers.count { $0.isDegraded }
                let allowed = answers.map(\.isAllowed)
                #expect(degraded == 0)
                #expect(!allowed.prefix(Self.quota).contains(false) && !allowed.dropFirst(Self.quota).contains(true))
                #expect(answers.count > Self.quota)
            }
        }
    }
}
