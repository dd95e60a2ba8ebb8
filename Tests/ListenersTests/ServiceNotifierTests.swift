import Glibc
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
        let notifier = try ServiceNotifier(environment: ["NOTIFY_SOCKET": path])
        #expect(notifier.isActive)
        #expect(notifier.ready() && receive(manager) == "READY=1")
        #expect(notifier.ready(status: "serving") && receive(manager) == "READY=1\nSTATUS=serving")
        #expect(notifier.stopping() && receive(manager) == "STOPPING=1")
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
        let notifier = try ServiceNotifier(environment: ["NOTIFY_SOCKET": "@\(name)"])
        #expect(notifier.ready() && receive(manager) == "READY=1")
    }

    @Test("Where nobody asked, nothing happens", arguments: [[:], ["NOTIFY_SOCKET": ""]])
    func silent(environment: [String: String]) throws {
        let notifier = try ServiceNotifier(environment: environment)
        #expect(!notifier.isActive && notifier.watchdogInterval == nil)
        #expect(!notifier.ready() && !notifier.watchdog())
    }

    @Test("A manager that is gone or does not read costs at most the bounded wait", .timeLimit(.minutes(1)))
    func unreachable() throws {
        let gone = try ServiceNotifier(environment: ["NOTIFY_SOCKET": folder.file("gone")])
        #expect(!gone.ready())

        let path = folder.file("busy")
        let manager = try boundSocket(path, type: SOCK_DGRAM)
        defer { close(manager) }
        let busy = try ServiceNotifier(environment: ["NOTIFY_SOCKET": path])
        var sent = 0
        while busy.watchdog(), sent < 100_000 { sent += 1 }
        #expect(sent > 0 && sent < 100_000)
        let clock = ContinuousClock()
        let elapsed = clock.measure { _ = busy.stopping() }
        // It waits, and the time limit of this test says that it does not wait for ever.
        #expect(elapsed >= .milliseconds(50))
    }

    @Test(
        "An address of another kind is refused",
        arguments: ["vsock:2:1234", "relative", "@", "/" + String(repeating: "x", count: 107)]
    )
    func invalid(text: String) {
        let error = listenerError { () throws(ListenerError) in
            try ServiceNotifier(environment: ["NOTIFY_SOCKET": text])
        }
        #expect(error == .invalidNotifySocket(text))
    }

    @Test("The watchdog is fed at half its time, and only where it is this process's")
    func watchdog() throws {
        func interval(_ environment: [String: String]) throws -> Duration? {
            try ServiceNotifier(environment: environment, processIdentifier: 77).watchdogInterval
        }
        #expect(try interval(["WATCHDOG_USEC": "30000000"]) == .seconds(15))
        #expect(try interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"]) == .seconds(15))
        #expect(try interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"]) == nil)
        for bad in ["", "x", "0", "-5", "1"] { #expect(try interval(["WATCHDOG_USEC": bad]) == nil) }
    }
}
