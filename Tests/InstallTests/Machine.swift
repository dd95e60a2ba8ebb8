import Foundation
import Glibc
import TestSupport

/// A Debian 12 of a test's own, which `systemd-nspawn` runs: the files of `scripts/setup-debian` under a layer in memory,
/// without a network, ended by the id of its process.
final class Machine: Sendable {
    private static let root = "\(toolsFolder)/debian/root"

    private let process: ChildProcess
    /// The first process in it, by which commands and sockets in it are reached.
    private let leader: pid_t

    /// - Parameter booted: whether systemd runs in it, as on a host, or nothing does, as where an image is built.
    init(booted: Bool) throws {
        let folder = Packages.folder ?? ""
        let isolation = [
            "--directory", Self.root, "--volatile=overlay", "--register=no", "--keep-unit", "--private-network",
            "--bind-ro=\(folder):/packages", "--quiet",
        ]
        let program = booted ? ["--console=pipe", "--boot"] : ["--pipe", "--as-pid2", "sleep", "infinity"]
        let process = try ChildProcess("systemd-nspawn", isolation + program)
        self.process = process
        let children = "/proc/\(process.id)/task/\(process.id)/children"
        var found: pid_t?
        let isUp = try eventually(within: 120) {
            guard process.exitCode == nil else { throw TestFailure("the machine ended: \(process.errors)") }
            found = pid_t(readFile(children).trimmed)
            // The one that prepares it comes first, and is no process of its own.
            guard let found, readFile("/proc/\(found)/status").contains("NSpid:\t\(found)\t1\n") else { return false }
            let question = booted ? ["systemctl", "is-system-running"] : ["pgrep", "-x", "sleep"]
            let answer = try Command("nsenter", Self.entering(found) + question)
            return booted ? ["running\n", "degraded\n"].contains(answer.output) : answer.code == 0
        }
        guard isUp, let found else {
            if let found { kill(found, SIGKILL) }
            throw TestFailure("the machine does not come up: \(process.errors)")
        }
        leader = found
    }

    /// systemd powers it off on SIGTERM. One that does not end is ended by its first process: that would outlive
    /// `systemd-nspawn`, and takes all others with it.
    deinit {
        process.send(SIGTERM)
        if !eventually(within: 60, { process.exitCode != nil }) { kill(leader, SIGKILL) }
    }

    private static func entering(_ leader: pid_t) -> [String] {
        ["--target", "\(leader)", "--mount", "--uts", "--ipc", "--net", "--pid", "--"]
    }

    /// Runs a command in it, as root.
    func run(_ command: String...) throws -> Command { try Command("nsenter", Self.entering(leader) + command) }

    /// Runs a line of the shell's in it, which has to succeed, and gives what it wrote.
    @discardableResult
    func shell(_ line: String) throws -> String { try run("sh", "-c", line).succeeded().trimmed }

    /// Where this process finds a file of it.
    func path(_ file: String) -> String { "/proc/\(leader)/root\(file)" }

    /// Whether a file or folder is there.
    func has(_ file: String) throws -> Bool { try run("test", "-e", file).code == 0 }

    /// Installs the Debian package of this folder of packages.
    func install(_ folder: String = "out") throws {
        try run("sh", "-c", "dpkg --install /packages/\(folder)/*.deb").succeeded()
    }

    /// A property of one of its units.
    func property(_ name: String, of unit: String = "llm-rate-limit.service") throws -> String {
        try run("systemctl", "show", "--property=\(name)", "--value", unit).succeeded().trimmed
    }

    /// What the daemon itself has written into the journal.
    func journal() throws -> [String] {
        let unit = "_SYSTEMD_UNIT=llm-rate-limit.service"
        return try run("journalctl", "--no-pager", "--output=cat", "_COMM=llm-rate-limit", unit).lines
    }

    static let checkSocket = "/run/llm-rate-limit/llm-rate-limit.sock"

    func connect() throws -> HTTPConnection {
        try HTTPConnection(.unix(path(Self.checkSocket)), timeoutSeconds: 90)
    }
}
