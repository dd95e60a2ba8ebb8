import Glibc
import Testing

@testable import Listeners

/// The limit is the whole process's, so each of these runs in a process of its own.
@Suite("The limit of open files")
struct DescriptorLimitTests {
    @Test("is raised as far as it is needed, and never lowered")
    func raised() async {
        await #expect(processExitsWith: .success) {
            setLimit(soft: 256, hard: 1_024)
            #expect(DescriptorLimit.makeRoom(connections: 500, others: 100) == 500)
            #expect(softLimit() == 600)
            #expect(DescriptorLimit.makeRoom(connections: 10, others: 100) == 10)
            #expect(softLimit() == 600)
        }
    }

    @Test("leaves room for fewer connections where it cannot be raised that far, at least for one")
    func hard() async {
        await #expect(processExitsWith: .success) {
            setLimit(soft: 256, hard: 1_024)
            #expect(DescriptorLimit.makeRoom(connections: 10_000, others: 100) == 924)
            #expect(softLimit() == 1_024)
            #expect(DescriptorLimit.makeRoom(connections: 10_000, others: 2_000) == 1)
        }
    }
}

private let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)

private func setLimit(soft: rlim_t, hard: rlim_t) {
    var limit = rlimit(rlim_cur: soft, rlim_max: hard)
    #expect(setrlimit(resource, &limit) == 0)
}

private func softLimit() -> rlim_t {
    var limit = rlimit()
    getrlimit(resource, &limit)
    return limit.rlim_cur
}
