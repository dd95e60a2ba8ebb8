package import NIOCore
package import NIOSSL
import Synchronization

/// The context that connections share, with the files that it was made from: not each of them reads these.
package final class TLSContextCache: Sendable, CustomReflectable {
    private struct Made {
        var end: TLSEnd
        var files: TLSFiles
        var context: NIOSSLContext
        var readAt: NIODeadline
    }

    private let made = Mutex<Made?>(nil)

    /// An empty one.
    package init() {}

    /// What connections are made with. The files are read again when they have not been for `age`, and where one has
    /// changed, as certificates do before they expire, the context is made anew. Files that cannot be used, as while they
    /// are being replaced, leave in force what there was for the same end.
    package func context(
        for end: TLSEnd, readWithin age: TimeAmount = .zero, now: NIODeadline = .now()
    ) throws(TLSProblem) -> NIOSSLContext {
        // Held while the files are read: two connections that find a new certificate make one context of it.
        let result = made.withLock { made in
            Result { () throws(TLSProblem) in
                let former = made?.end == end ? made : nil
                if let former, now - former.readAt < age { return former.context }
                var current: Made
                do throws(TLSProblem) {
                    let files = try TLSFiles(of: end)
                    if let former, former.files == files {
                        current = former
                        current.readAt = now
                    } else {
                        let context = try files.makeContext(end.role)
                        current = Made(end: end, files: files, context: context, readAt: now)
                    }
                } catch {
                    guard let former else { throw error }
                    current = former
                    current.readAt = now
                }
                made = current
                return current.context
            }
        }
        return try result.get()
    }

    /// Empty: a key must not be found by `dump`.
    package var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
