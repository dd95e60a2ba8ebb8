import Glibc
import TestSupport

/// Programs of a test's own that see their own network or their own files: Linux namespaces, which end with them.
enum Namespaces {
    /// Whether this process may make them.
    static let areAllowed: Bool = {
        let command = ["--mount", "--net", "sh", "-c", "\(path); ip link set lo up"]
        let process = try? ChildProcess("unshare", command)
        return (try? process?.wait()) == 0
    }()

    private static let path = "PATH=$PATH:/usr/sbin:/sbin"

    /// Runs a shell script and throws where it fails.
    static func run(_ script: String) throws {
        let shell = try ChildProcess("sh", ["-ec", "\(path)\n\(script)"])
        guard try shell.wait() == 0 else { throw TestFailure("\(script): \(shell.errors)") }
    }

    /// The command that becomes a program with a network of its own, in which there is nothing yet.
    static let ownNetwork = ["unshare", "--net"]

    /// Joins the networks of two programs by a pair of interfaces named `name`: `10.77.<number>.1` and `….2`.
    static func join(_ one: pid_t, _ other: pid_t, name: String, number: Int) throws {
        try run(
            """
            ip link add \(name) netns \(one) type veth peer name \(name) netns \(other)
            nsenter --net --target \(one) ip address add 10.77.\(number).1/24 dev \(name)
            nsenter --net --target \(other) ip address add 10.77.\(number).2/24 dev \(name)
            nsenter --net --target \(one) ip link set \(name) up
            nsenter --net --target \(other) ip link set \(name) up
            """
        )
        // Who is where is asked once a second in vain by default, which would be taken for the daemon's own delay.
        for process in [one, other] {
            let setting = "/proc/sys/net/ipv4/neigh/\(name)/retrans_time_ms"
            try run("nsenter --net --target \(process) sh -c 'echo 50 > \(setting)'")
        }
    }

    /// Has an interface lose everything, or work again.
    static func set(_ name: String, of process: pid_t, isUp: Bool) throws {
        try run("nsenter --net --target \(process) ip link set \(name) \(isUp ? "up" : "down")")
    }
}

/// The names that one daemon knows: an `/etc/hosts` and an `/etc/resolv.conf` of its own.
final class OwnNames: Sendable {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try folder.write("", to: "hosts", mode: 0o644)
        try folder.write("", to: "resolv.conf", mode: 0o644)
        // On loopback, where no name server is.
        try setNameServer("127.77.0.1")
    }

    /// The command that becomes a program with these names.
    var wrapper: [String] {
        let script = #"""
            mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"
            """#
        return [
            "unshare", "--mount", "sh", "-c", script, "sh", folder.file("hosts"), folder.file("resolv.conf"),
        ]
    }

    /// Has a name lead to an address, or nowhere. The file stays the same one: it is mounted.
    func set(_ name: String, to address: String?) throws {
        try folder.write(address.map { "\($0) \(name)\n" } ?? "", to: "hosts")
    }

    func setNameServer(_ address: String) throws {
        try folder.write("nameserver \(address)\noptions timeout:5 attempts:2\n", to: "resolv.conf")
    }
}

/// A name server on loopback that takes questions and never answers.
final class SilentNameServer: Sendable {
    static let address = "127.77.0.2"
    private let descriptor: CInt

    init() throws {
        descriptor = socket(AF_INET, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(53).bigEndian
        inet_pton(AF_INET, Self.address, &address.sin_addr)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw TestFailure("cannot be a name server: errno \(errno)") }
    }

    deinit { close(descriptor) }

    /// Whether somebody has asked.
    var wasAsked: Bool {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&poller, 1, 0) == 1
    }
}
