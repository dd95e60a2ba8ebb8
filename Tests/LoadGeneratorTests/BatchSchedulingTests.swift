import Glibc
import Testing

@testable import LoadGenerator

@Suite("Batch scheduling")
struct BatchSchedulingTests {
    @Test("holds for the load's thread, as long as it is one")
    func policy() {
        // A thread of this test's own: the policy is a thread's, and others run on this one.
        var thread = pthread_t()
        let body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { result in
            let policies = result?.assumingMemoryBound(to: Int32.self)
            policies?[0] = sched_getscheduler(0)
            let scheduling = BatchScheduling()
            policies?[1] = sched_getscheduler(0)
            scheduling.end()
            policies?[2] = sched_getscheduler(0)
            return nil
        }
        let policies = UnsafeMutablePointer<Int32>.allocate(capacity: 3)
        defer { policies.deallocate() }
        policies.initialize(repeating: -1, count: 3)
        #expect(pthread_create(&thread, nil, body, policies) == 0)
        pthread_join(thread, nil)
        #expect((0..<3).map { policies[$0] } == [SCHED_OTHER, BatchScheduling.batch, SCHED_OTHER])
    }
}
