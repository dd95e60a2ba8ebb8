import Logging
import RedisClient
import Synchronization
import Testing

@testable import RateLimitService

@Suite("What the process knows of Redis")
struct RedisHealthTests {
    private let lines = Lines()
    private let metrics = RecordingMetrics()

    private func health(eventLoops: Int) -> RedisHealth {
        let lines = lines
        let logger = Logger(label: "test", factory: { _ in LineHandler(lines: lines) })
        return RedisHealth(eventLoops: eventLoops, logger: logger, metrics: CheckMetrics(factory: metrics))
    }

    private let refused = LinkAvailability.unavailable(.unreachable("Connection refused"))

    @Test("One server: the first link to go and the last to come back make a line each")
    func single() {
        let health = health(eventLoops: 2)
        #expect(health.state.isConnecting && !health.state.isEnforcing)
        for loop in 0..<2 { health.linkDidChange(loop, .available) }
        #expect(health.state.isEnforcing && health.state.available == 2)
        for loop in 0..<2 { health.linkDidChange(loop, .unavailable(.timedOut)) }
        #expect(health.state.reason == .redisTimeout && health.state.available == 0)
        for loop in 0..<2 { health.linkDidChange(loop, .available) }
        #expect(
            lines.messages == [
                "connected to Redis", "Redis is away: the failure mode answers until it is back",
                "Redis is back: decisions are exact again",
            ])
        #expect(metrics.counted[CheckMetrics.Name.breakerOpenings] == 2)
    }

    @Test("A cluster: one line when all masters are there, and one for each master's change of state")
    func cluster() {
        let health = health(eventLoops: 2)
        health.mapDidChange(masters: ["a:1", "b:2", "c:3"], slotsWithoutMaster: 0)
        #expect(health.state.isConnecting && health.state.links == 6)
        for master in ["a:1", "b:2", "c:3"] {
            for loop in 0..<2 { health.linkDidChange(loop, of: master, .available) }
        }
        #expect(health.state.isEnforcing)
        for loop in 0..<2 { health.linkDidChange(loop, of: "b:2", refused) }
        #expect(health.state.detail == "2 of 3 masters reachable; b:2: Connection refused")
        #expect(health.state.available == 4 && health.state.reason == .redisUnreachable)
        #expect(metrics.counted[CheckMetrics.Name.breakerOpen] == 2)
        for loop in 0..<2 { health.linkDidChange(loop, of: "b:2", .available) }
        #expect(health.state.isEnforcing && health.state.detail == nil)
        #expect(
            lines.messages == [
                "connected to Redis", "Redis node is away: the failure mode answers its users until it is back",
                "Redis node is back: decisions on its users are exact again",
            ])
    }

    @Test("A failover: away, changed, connected; what is no longer a master says nothing")
    func failover() {
        let health = health(eventLoops: 1)
        health.mapDidChange(masters: ["a:1", "b:2"], slotsWithoutMaster: 0)
        for master in ["a:1", "b:2"] { health.linkDidChange(0, of: master, .available) }
        health.linkDidChange(0, of: "a:1", refused)
        health.mapDidChange(masters: ["b:2", "d:4"], slotsWithoutMaster: 0)
        #expect(health.state.isConnecting && health.state.links == 2)
        health.linkDidChange(0, of: "a:1", .available)
        health.linkDidChange(0, of: "d:4", .available)
        #expect(health.state.isEnforcing)
        #expect(
            Array(lines.messages.dropFirst()) == [
                "Redis node is away: the failure mode answers its users until it is back",
                "the cluster's masters have changed", "connected to Redis node",
            ])
    }

    @Test("Slots without a master count as a Redis that is not whole")
    func slots() {
        let health = health(eventLoops: 1)
        health.mapDidChange(masters: ["a:1"], slotsWithoutMaster: 10)
        health.linkDidChange(0, of: "a:1", .available)
        #expect(!health.state.isEnforcing && health.state.detail == "10 slots of the cluster have no master")
        health.mapDidChange(masters: ["a:1"], slotsWithoutMaster: 10)
        health.mapDidChange(masters: ["a:1"], slotsWithoutMaster: 0)
        #expect(health.state.isEnforcing)
        #expect(lines.messages.count { $0.contains("slots of the cluster") } == 2)
    }

    @Test("A cluster of which no node tells the map is away; found, its masters are told")
    func mapMissing() {
        let health = health(eventLoops: 2)
        for _ in 0..<3 { health.mapIsMissing(because: .refused("ERR no cluster")) }
        #expect(health.state.reason == .redisError && health.state.detail == "ERR no cluster")
        health.mapDidChange(masters: ["a:1"], slotsWithoutMaster: 0)
        for loop in 0..<2 { health.linkDidChange(loop, of: "a:1", .available) }
        #expect(
            lines.messages == [
                "Redis is away: the failure mode answers until it is back", "found the cluster's masters",
                "connected to Redis",
            ])
    }

    private let full = RedisRefusal("OOM command not allowed when used memory > 'maxmemory'.")

    @Test("Redis that can be asked and refuses is one that does not decide: reason, words, and the gauge")
    func refusal() throws {
        let health = health(eventLoops: 2)
        for loop in 0..<2 { health.linkDidChange(loop, .available) }
        #expect(health.state.isEnforcing && health.state.notEnforcingSince == nil)
        #expect(metrics.counted[CheckMetrics.Name.enforcing] == 1)
        #expect(metrics.counted[CheckMetrics.Name.notEnforcingSince] == nil, "0")
        for _ in 0..<100 { health.wasRefused(full, by: nil, on: .checks) }
        let since = try #require(health.state.notEnforcingSince)
        #expect(!health.state.isEnforcing && health.state.isRefusing && health.state.available == 2)
        #expect(health.state.reason == .redisError && health.state.detail == full.words)
        #expect(metrics.counted[CheckMetrics.Name.enforcing] == nil, "0")
        #expect(metrics.counted[CheckMetrics.Name.notEnforcingSince] == Double(since))
        // A heartbeat that is decided at once does not say that it is over.
        health.heartbeat(.decided, of: nil)
        #expect(!health.state.isEnforcing)
        #expect(
            lines.messages == [
                "connected to Redis", "Redis refuses to decide: the failure mode answers until it decides again",
            ])
    }

    @Test("A Redis that is back and refuses is not said to be exact")
    func backAndRefusing() {
        let health = health(eventLoops: 1)
        health.linkDidChange(0, .available)
        health.wasRefused(full, by: nil, on: .checks)
        health.linkDidChange(0, refused)
        #expect(!health.state.isRefusing && health.state.reason == .redisUnreachable, "what is away is not asked")
        health.linkDidChange(0, .available)
        #expect(health.state.isRefusing && lines.messages.last == "Redis is back")
    }

    @Test("From its start on a server counts when a heartbeat has been answered, and not before")
    func proof() {
        let health = health(eventLoops: 1)
        health.awaitHeartbeats()
        health.linkDidChange(0, .available)
        #expect(!health.state.isEnforcing && health.state.isConnecting)
        health.heartbeat(.unanswered, of: nil)
        #expect(health.state.isConnecting)
        health.heartbeat(.refused(full, on: .checks), of: nil)
        #expect(!health.state.isEnforcing && !health.state.isConnecting && health.state.isRefusing)

        health.mapDidChange(masters: ["a:1", "b:2"], slotsWithoutMaster: 0)
        for name in ["a:1", "b:2"] { health.linkDidChange(0, of: name, .available) }
        for name in ["a:1", "b:2"] {
            #expect(!health.state.isEnforcing)
            health.heartbeat(.decided, of: name)
        }
    }

    @Test("A cluster: the master that refuses is named; one that is none any more is not asked about")
    func refusingMaster() {
        let health = health(eventLoops: 1)
        health.mapDidChange(masters: ["a:1", "b:2"], slotsWithoutMaster: 0)
        for name in ["a:1", "b:2"] { health.linkDidChange(0, of: name, .available) }
        health.wasRefused(full, by: "c:3", on: .calls)
        #expect(health.state.isEnforcing)
        health.wasRefused(full, by: "b:2", on: .calls)
        #expect(health.state.detail == "b:2: \(full.words)" && !health.state.isEnforcing)
        health.heartbeat(.decided, of: "a:1")
        #expect(!health.state.isEnforcing)
        health.mapDidChange(masters: ["a:1", "d:4"], slotsWithoutMaster: 0)
        health.linkDidChange(0, of: "d:4", .available)
        #expect(health.state.isEnforcing)
        #expect(
            Array(lines.messages.dropFirst()) == [
                "Redis node refuses to decide: the failure mode answers its users until it decides again",
                "Redis node that refused to decide is no master any more", "the cluster's masters have changed",
                "connected to Redis node",
            ])
    }
}

final class Lines: Sendable {
    private let storage = Mutex<[String]>([])
    var messages: [String] { storage.withLock { $0 } }
    func add(_ message: String) { storage.withLock { $0.append(message) } }
}

struct LineHandler: LogHandler {
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.add("\(event.message)") }
}
