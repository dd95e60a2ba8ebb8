import Glibc

/// The calling thread's scheduling while it is the load.
///
/// Each answer wakes the load's thread. A thread of the usual policy takes the processor from the daemon in the middle of
/// its turn then, for one answer, and the daemon has to be switched to again: clients on processors of their own do no
/// such thing. Under `SCHED_BATCH` the woken thread waits until the daemon (or Redis) gives the processor up; see sched(7).
struct BatchScheduling {
    /// `SCHED_BATCH` of `linux/sched.h`, which Swift's Glibc leaves out.
    static let batch: Int32 = 3

    private let before = sched_getscheduler(0)

    /// Where the kernel refuses, the load runs as it did.
    init() {
        var parameters = sched_param()
        if before == SCHED_OTHER { _ = sched_setscheduler(0, Self.batch, &parameters) }
    }

    /// Gives the thread its usual policy back, so that processes it starts do not inherit this one.
    func end() {
        var parameters = sched_param()
        if before == SCHED_OTHER { _ = sched_setscheduler(0, SCHED_OTHER, &parameters) }
    }
}
