import TestSupport
import Testing

/// Four daemons at sockets that a service manager holds, replaced one by one under load.
@Suite("A rolling upgrade", .serialized, .needsReleases)
struct RollingUpgradeTests {
    @Test(
        "Of four daemons, to this release and back: every check is answered, and each user has the whole quota and no more",
        arguments: [[Release.last, .current], [.current, .last]])
    func fourDaemons(releases: [Release]) throws {
        let fleet = try Fleet(4, on: RedisServer(), program: releases[0].program)
        let before = try fleet.versions()
        let answers = try fleet.answers(clients: 4, while: { try fleet.restart(with: releases[1].program) })
        for answers in answers {
            let degraded = answers.count { $0.isDegraded }
            let allowed = answers.map(\.isAllowed)
            #expect(degraded == 0)
            #expect(!allowed.prefix(Fleet.quota).contains(false) && !allowed.dropFirst(Fleet.quota).contains(true))
            #expect(answers.count > Fleet.quota)
        }
        // It was an upgrade, or the way back, of all of them.
        let versions = try releases.map { try $0.run(["version"]).split(whereSeparator: \.isWhitespace).last ?? "" }
        #expect(before.map { "\($0)" } == Array(repeating: String(versions[0]), count: 4))
        #expect(try fleet.versions() == Array(repeating: String(versions[1]), count: 4))
        #expect(versions[0] != versions[1])
    }
}
