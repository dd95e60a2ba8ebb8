import Glibc
import Testing

@testable import DaemonConfiguration

@Suite("The watch over a file")
struct FileWatchTests {
    let folder = TemporaryFolder()
    let start = ContinuousClock.now

    /// Looks twice a second, and gives the half seconds at which the file was read.
    private func readings(of seconds: [(file: FileState?, isReadable: Bool)]) -> [Double] {
        var watch = FileWatch()
        var readAt: [Double] = []
        for (second, now) in seconds.enumerated() {
            for half in 0...1 {
                let time = Double(second) + Double(half) / 2
                let instant = start + .milliseconds(Int(time * 1000))
                guard watch.look(now.file, at: instant) else { continue }
                readAt.append(time)
                watch.didRead(isInForce: now.isReadable, at: instant)
            }
        }
        return readAt
    }

    private func state(_ content: String) throws -> FileState {
        try #require(FileState(path: folder.write("file", content)))
    }

    @Test("has it read once when it has held still for three seconds, and not again while it stays the same")
    func still() throws {
        let file = try state("a")
        #expect(readings(of: Array(repeating: (file, true), count: 60)) == [3])
    }

    @Test("does not have half a file read that is written with pauses below three seconds")
    func half() throws {
        let parts = try (1...5).map { try state(String(repeating: "part ", count: $0)) }
        // Each part is followed by a pause of 2 s; the last stays.
        let seconds = parts.flatMap { Array(repeating: ($0 as FileState?, true), count: 2) }
        #expect(readings(of: seconds + Array(repeating: (parts[4], true), count: 20)) == [11])
    }

    @Test("has a file that could not be read read again once it has changed, as by chmod alone")
    func madeReadable() throws {
        let path = folder.write("file", "a", mode: 0o000)
        let unreadable = try #require(FileState(path: path))
        // The time of a change is as fine as the kernel's tick.
        var readable = unreadable
        for _ in 0..<1_000 where readable == unreadable {
            usleep(10_000)
            chmod(path, 0o000)
            chmod(path, 0o644)
            readable = try #require(FileState(path: path))
        }
        #expect(readable != unreadable)
        let seconds = Array(repeating: (unreadable as FileState?, false), count: 5)
        #expect(readings(of: seconds + Array(repeating: (readable, true), count: 40)) == [3, 4, 8])
    }

    @Test("has the same file read again and again where it could not be, twice as long after each time, up to 30 s")
    func retries() throws {
        let file = try state("a")
        let seconds = Array(repeating: (file as FileState?, false), count: 120)
        #expect(readings(of: seconds) == [3, 4, 6, 10, 18, 34, 64, 94])
        // What keeps it from being read may lie elsewhere, and go.
        #expect(readings(of: seconds[..<20] + Array(repeating: (file, true), count: 100)) == [3, 4, 6, 10, 18, 34])
    }

    @Test("takes a file that is missing for a moment for one that changes, and one that stays away for unreadable")
    func missing() throws {
        let (old, new) = (try state("a"), try state("bc"))
        let replaced: [(FileState?, Bool)] =
            Array(repeating: (old, true), count: 5) + [(nil, false), (nil, false)]
            + Array(repeating: (new, true), count: 5)
        #expect(readings(of: replaced) == [3, 10])
        let removed: [(FileState?, Bool)] =
            Array(repeating: (old, true), count: 5) + Array(repeating: (nil, false), count: 6)
            // The same file is back, as after a folder was closed and opened: what is in force is said to be.
            + Array(repeating: (old, true), count: 5)
        #expect(readings(of: removed) == [3, 8, 9, 14])
    }

    @Test("sees another file where a symbolic link leads to another, as in a volume of Kubernetes")
    func link() throws {
        let (first, second) = (folder.write("first", "a"), folder.write("second", "a"))
        let link = "\(folder.path)/link"
        symlink(first, link)
        let before = FileState(path: link)
        unlink(link)
        symlink(second, link)
        let after = FileState(path: link)
        unlink(link)
        #expect(before != nil && after != nil && before != after)
        #expect(FileState(path: link) == nil)
    }
}
