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
        #expect(health.state.isConnecting && !health.state.isAvailable)
        for loop in 0..<2 { health.linkDidChange(loop, .available) }
        #expect(health.state.isAvailable && health.state.available == 2)
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
        #expect(health.state.isAvailable)
        for loop in 0..<2 { health.linkDidChange(loop, of: "b:2", refused) }
        #expect(health.state.detail == "2 of 3 masters reachable; b:2: Connection refused")
        #expect(health.state.available == 4 && health.state.reason == .redisUnreachable)
        #expect(metrics.counted[CheckMetrics.Name.breakerOpen] == 2)
        for loop in 0..<2 { health.linkDidChange(loop, of: "b:2", .available) }
        #expect(health.state.isAvailable && health.state.detail == nil)
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
        #expect(health.state.isAvailable)
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
        #expect(!health.state.isAvailable && health.state.detail == "10 slots of the cluster have no master")
        health.mapDidChange(masters: ["a:1"], slotsWithoutMaster: 10)
        health.mapDidChange(masters: ["a:1"], slotsWithoutMaster: 0)
        #expect(health.state.isAvailable)
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
}

private final class Lines: Sendable {
    private let storage = Mutex<[String]>([])
    var messages: [String] { storage.withLock { $0 } }
    func add(_ message: String) { storage.withLock { $0.append(message) } }
}

private struct LineHandler: LogHandler {
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.add("\(event.message)") }
}
