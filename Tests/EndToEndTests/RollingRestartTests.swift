import TestSupport
import Testing

extension EndToEnd {
    /// A fleet of one release; Tests/UpgradeTests do the same from the last release to this one, and back.
    @Suite("A rolling restart")
    struct RollingRestartTests {
        @Test("Of four daemons under load: every check is answered, and each user has the whole quota and no more")
        func fourDaemons() throws {
            let fleet = try Fleet(4, on: RedisServer())
            for answers in try fleet.answers(clients: 4, while: { try fleet.restart() }) {
                let degraded = answers.count { $0.isDegraded }
                let allowed = answers.map(\.isAllowed)
                #expect(degraded == 0)
                #expect(!allowed.prefix(Fleet.quota).contains(false) && !allowed.dropFirst(Fleet.quota).contains(true))
                #expect(answers.count > Fleet.quota)
            }
        }
    }
}
