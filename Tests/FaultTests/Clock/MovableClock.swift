import Foundation
import Glibc
import TestSupport

/// A clock for programs of a test's own that the test can move: `clock.c`, compiled and preloaded.
final class MovableClock: Sendable {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("clock.c").path
        let library = folder.file("clock.so")
        // Swift brings clang along.
        let compiler = try ChildProcess("clang", ["-shared", "-fPIC", "-O1", "-o", library, source])
        guard try compiler.wait(seconds: 60) == 0 else { throw TestFailure("cannot compile: \(compiler.errors)") }
        try move(seconds: 0)
    }

    /// The variables of a program that shall see this clock.
    var environment: [String: String] {
        [
            "LD_PRELOAD": folder.file("clock.so"), "CLOCK_OFFSET_FILE": folder.file("offset"),
            // A daemon built with the address sanitizer insists on being the first library otherwise.
            "ASAN_OPTIONS": "verify_asan_link_order=0",
        ]
    }

    /// Has the clock show so many seconds more than the system's.
    func move(seconds: Int) throws {
        let file = open(folder.file("offset"), O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(file) }
        // One aligned store of eight bytes, so that nobody reads half of it.
        guard withUnsafeBytes(of: seconds, { pwrite(file, $0.baseAddress, $0.count, 0) }) == 8 else {
            throw TestFailure("cannot write the clock's offset: errno \(errno)")
        }
    }
}
