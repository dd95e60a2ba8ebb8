import Foundation
import Glibc
import Synchronization

/// Something that runs on a thread of its own, since clients of these tests block.
package final class Background<Value: Sendable>: Sendable {
    private let body: @Sendable () throws -> Value
    private let result = Mutex<Result<Value, any Error>?>(nil)
    private let thread = Mutex<pthread_t?>(nil)

    package init(_ body: @escaping @Sendable () throws -> Value) {
        self.body = body
        var started = pthread_t()
        let argument = Unmanaged.passRetained(self as AnyObject).toOpaque()
        let code = pthread_create(
            &started, nil,
            { argument in
                guard let argument else { return nil }
                (Unmanaged<AnyObject>.fromOpaque(argument).takeRetainedValue() as? any Runnable)?.run()
                return nil
            },
            argument
        )
        precondition(code == 0, "cannot start a thread: \(code)")
        thread.withLock { $0 = started }
    }

    /// Whether the body has returned or thrown.
    package var hasEnded: Bool { result.withLock { $0 != nil } }

    /// Waits for the end; throws what the body threw.
    package func value() throws -> Value {
        let joined = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        if let joined { pthread_join(joined, nil) }
        guard let result = result.withLock({ $0 }) else { throw TestFailure("the thread has no result") }
        return try result.get()
    }
}

private protocol Runnable { func run() }

extension Background: Runnable {
    fileprivate func run() {
        let value = Result { try body() }
        result.withLock { $0 = value }
    }
}

/// Runs `body` on so many threads at once and gives their results in order.
package func concurrently<Value: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) throws -> Value
) throws -> [Value] {
    let threads = (0..<count).map { index in Background { try body(index) } }
    // All are joined before an error is thrown: none must go on into the next test.
    let results = threads.map { thread in Result { try thread.value() } }
    return try results.map { try $0.get() }
}

/// A flag that threads share.
package final class Flag: Sendable {
    private let storage = Atomic(false)

    package init() {}

    package var isSet: Bool { storage.load(ordering: .acquiring) }

    package func set() { storage.store(true, ordering: .releasing) }
}

/// A count that threads share.
package final class Tally: Sendable {
    private let storage = Atomic(0)

    package init() {}

    package var value: Int { storage.load(ordering: .acquiring) }

    package func add() { _ = next() }

    /// Adds one, and gives how many there were before.
    package func next() -> Int { storage.add(1, ordering: .acquiringAndReleasing).oldValue }
}

/// Microseconds of the system's clock, which is Redis's clock too.
package func systemMicroseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

/// Milliseconds on a clock that never steps.
package func monotonicMilliseconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) * 1_000 + Double(time.tv_nsec) / 1_000_000
}

/// Waits.
package func pause(milliseconds: Int) {
    usleep(UInt32(milliseconds) * 1_000)
}

/// How long the kernel has kept a thread waiting for a processor, all together.
///
/// A test that holds a bound on a machine shared with other work subtracts this: it is the time in which the thread
/// could have gone on and was not let.
package final class ProcessorWait {
    private let descriptor: CInt

    /// Of the thread whose `schedstat` this is; it waits for nothing where the kernel does not tell.
    package init(_ path: String) { descriptor = open(path, O_RDONLY | O_CLOEXEC) }

    /// Of the calling thread.
    package convenience init() { self.init("/proc/thread-self/schedstat") }

    /// Of a daemon's first event loop.
    package convenience init(of daemon: Daemon) {
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.process.id)/task")) ?? []
        let loop = threads.sorted().first { thread in
            readFile("/proc/\(daemon.process.id)/task/\(thread)/comm").hasPrefix("NIO-ELT")
        }
        self.init("/proc/\(daemon.process.id)/task/\(loop ?? "0")/schedstat")
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The time so far.
    package var milliseconds: Double {
        var text = [UInt8](repeating: 0, count: 128)
        let count = descriptor < 0 ? 0 : pread(descriptor, &text, text.count, 0)
        guard count > 0 else { return 0 }
        // Time on the processor, time waiting for it, and time slices.
        let fields = text[..<count].split(separator: UInt8(ascii: " "))
        let nanoseconds = fields.count > 1 ? Int(String(decoding: fields[1], as: UTF8.self)) ?? 0 : 0
        return Double(nanoseconds) / 1_000_000
    }
}

/// How late the machine lets a thread go on that only sleeps, in milliseconds at worst: what it adds to every answer.
package func oversleep(until flag: Flag) -> Background<Double> {
    Background {
        var worst = 0.0
        while !flag.isSet {
            let start = monotonicMilliseconds()
            pause(milliseconds: 1)
            worst = max(worst, monotonicMilliseconds() - start - 1)
        }
        return worst
    }
}
