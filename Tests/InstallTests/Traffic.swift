import Synchronization
import TestSupport

/// Clients of a machine's check socket, each of which makes a connection for every check, one after the other, until they
/// are told to end.
final class Traffic: Sendable {
    /// What became of the checks.
    struct Record: Sendable {
        var allowed = 0
        /// Connections that were not made, each with the reason.
        var refused: [String] = []
        /// Connections that ended without an answer, or with another than that the call is allowed.
        var failed: [String] = []
    }

    private let ended = Flag()
    private let record = Mutex(Record())
    private let clients: Mutex<[Background<Void>]> = Mutex([])

    init(to machine: Machine, clients count: Int = 4) {
        let threads = (0..<count).map { _ in
            Background { [self] in while !ended.isSet { check(machine) } }
        }
        clients.withLock { $0 = threads }
    }

    private func check(_ machine: Machine) {
        let connection: HTTPConnection
        do { connection = try machine.connect() } catch {
            record.withLock { $0.refused.append("\(error)") }
            return pause(milliseconds: 10)
        }
        do {
            let answer = try connection.check(newUser())
            record.withLock { record in
                if answer.isAllowed { record.allowed += 1 } else { record.failed.append(answer.text) }
            }
        } catch {
            record.withLock { $0.failed.append("\(error)") }
        }
        pause(milliseconds: 2)
    }

    /// Waits until so many more checks are allowed, and says whether they are within two minutes.
    func goesOn(_ count: Int = 50) -> Bool {
        let before = record.withLock { $0.allowed }
        return eventually(within: 120) { record.withLock { $0.allowed } >= before + count }
    }

    /// Ends the clients, and gives what became of their checks.
    func end() throws -> Record {
        ended.set()
        for client in clients.withLock({ $0 }) { try client.value() }
        return record.withLock { $0 }
    }

    deinit { ended.set() }
}
