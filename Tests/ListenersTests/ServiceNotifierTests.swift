import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Listeners

@Suite("The service manager is told")
struct ServiceNotifierTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    private func receive(_ descriptor: CInt) -> String? {
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = recv(descriptor, &bytes, bytes.count, CInt(MSG_DONTWAIT))
        return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
    }

    @Test("Every message is as systemd expects it")
    func messages() throws {
        let path = folder.file("notify")
        let manager = try boundSocket(path, type: SOCK_DGRAM)
        defer { close(manager) }
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": path])
        #expect(notifier.isActive)
        #expect(notifier.ready() && receive(manager) == "READY=1")
        #expect(notifier.ready(status: "serving") && receive(manager) == "READY=1\nSTATUS=serving")
        #expect(notifier.stopping(withinMilliseconds: 20_000))
        #expect(receive(manager) == "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000")
        #expect(notifier.watchdog() && receive(manager) == "WATCHDOG=1")
        #expect(notifier.status("a\nREADY=1\r") && receive(manager) == "STATUS=a READY=1 ")
        #expect(notifier.status(String(repeating: "é", count: 1_000)))
        #expect(receive(manager) == "STATUS=" + String(repeating: "é", count: 256))

        #expect(notifier.reloading())
        let parts = try #require(receive(manager)).split(separator: "\n")
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        #expect(parts.count == 2 && parts[0] == "RELOADING=1" && parts[1].hasPrefix("MONOTONIC_USEC="))
        let told = try #require(Int(parts[1].dropFirst("MONOTONIC_USEC=".count)))
        let now = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
        #expect(told <= now && told > now - 10_000_000)
        #expect(receive(manager) == nil)
    }

    @Test("Abstract names work too")
    func abstract() throws {
        let name = "llm-rate-limit-test-\(getpid())"
        let manager = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(manager) }
        try #require(withUnixAddress([0] + Array(name.utf8)) { bind(manager, $0, $1) } == 0)
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": "@\(name)"])
        #expect(notifier.ready() && receive(manager) == "READY=1")
    }

    @Test("Where nobody asked, nothing happens", arguments: [[:], ["NOTIFY_SOCKET": ""]])
    func silent(environment: [String: String]) throws {
        let notifier = ServiceNotifier(environment: environment)
        #expect(!notifier.isActive && notifier.watchdogInterval == nil)
        #expect(!notifier.ready() && !notifier.watchdog())
    }

    /// What a notifier warned of.
    private final class Warnings: Sendable {
        private let all = Mutex<[ListenerError]>([])
        var value: [ListenerError] { all.withLock { $0 } }

        func add(_ warning: ListenerError) { all.withLock { $0.append(warning) } }
    }

    @Test("A manager that is gone is warned of once, however often it is told")
    func gone() throws {
        let warnings = Warnings()
        let path = folder.file("gone")
        let notifier = ServiceNotifier(environment: ["NOTIFY_SOCKET": path], warn: warnings.add)
        #expect(notifier.isActive && warnings.value.isEmpty)
        #expect(!notifier.ready() && !notifier.watchdog() && !notifier.stopping(withinMilliseconds: 1))
        #expect(warnings.value == [.notNotified(address: path, errorNumber: ENOENT)])
        #expect("\(warnings.value[0])".hasSuffix("NOTIFY_SOCKET \"\(path)\": No such file or directory"))
    }

    @Test("An abstract name that nobody has, and a socket that refuses, are warned of alike")
    func refused() throws {
        let stream = try boundSocket(folder.file("stream"), type: SOCK_STREAM)
        defer { close(stream) }
        for (address, number) in [
            ("@llm-rate-limit-nobody-\(getpid())", ECONNREFUSED), (folder.file("stream"), EPROTOTYPE),
        ] {
            let warnings = Warnings()
            #expect(!ServiceNotifier(environment: ["NOTIFY_SOCKET": address], warn: warnings.add).ready())
            #expect(warnings.value == [.notNotified(address: address, errorNumber: number)])
        }
    }

    @Test("A manager that does not read is waited for no longer than the bound", .timeLimit(.minutes(1)))
    func busy() throws {
        let path = folder.file("busy")
        let manager = try boundSocket(path, type: SOCK_DGRAM)
        defer { close(manager) }
        let warnings = Warnings()
        let busy = ServiceNotifier(environment: ["NOTIFY_SOCKET": path], warn: warnings.add)
        var sent = 0
        while busy.watchdog(), sent < 100_000 { sent += 1 }
        #expect(sent > 0 && sent < 100_000)
        // The watchdog's message comes again by itself.
        #expect(warnings.value.isEmpty)
        #expect(!busy.stopping(withinMilliseconds: 1))
        #expect(warnings.value == [.notNotified(address: path, errorNumber: EAGAIN)])
    }

    @Test(
        "An address of another kind tells nobody, and is warned of",
        arguments: ["vsock:2:1234", "relative", "@", "/", "/" + String(repeating: "x", count: 107)]
    )
    func invalid(text: String) {
        let warnings = Warnings()
        let notifier = ServiceNotifier(
            environment: ["NOTIFY_SOCKET": text, "WATCHDOG_USEC": "30000000"], warn: warnings.add)
        #expect(!notifier.isActive && notifier.watchdogInterval == nil)
        #expect(!notifier.ready() && !notifier.watchdog())
        #expect(warnings.value == [.invalidNotifySocket(text)])
    }

    @Test("The watchdog is fed at half its time, and only where it is this process's")
    func watchdog() throws {
        func interval(_ environment: [String: String], _ warnings: Warnings = Warnings()) -> Duration? {
            ServiceNotifier(
                environment: environment.merging(["NOTIFY_SOCKET": folder.file("notify")]) { $1 },
                processIdentifier: 77, warn: warnings.add
            ).watchdogInterval
        }
        #expect(interval(["WATCHDOG_USEC": "30000000"]) == .seconds(15))
        #expect(interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"]) == .seconds(15))
        #expect(interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"]) == nil)
        // A time that would leave no pause is not taken at its word.
        #expect(interval(["WATCHDOG_USEC": "1"]) == .milliseconds(1))
        for none in ["", "0"] {
            let warnings = Warnings()
            #expect(interval(["WATCHDOG_USEC": none], warnings) == nil && warnings.value.isEmpty)
        }
        for bad in ["x", "-5", "1.5", "99999999999999999999"] {
            let warnings = Warnings()
            #expect(interval(["WATCHDOG_USEC": bad], warnings) == nil)
            #expect(warnings.value == [.invalidWatchdog(bad)])
        }
    }
}
