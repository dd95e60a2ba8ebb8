import HistoryChecker
import Synchronization
import TestSupport

/// What the windows are kept in.
package enum Topology: String, CaseIterable, Sendable {
    /// One Redis that saves nothing.
    case single
    /// Three masters with a replica each.
    case cluster

    /// Every fault that makes sense there.
    package var faults: [Fault] {
        switch self {
        case .single: Fault.redisProcessFaults + Fault.redisCommandFaults + Fault.daemonFaults + Fault.clientFaults
        case .cluster: Fault.clusterFaults + Fault.clusterCommandFaults + Fault.daemonFaults + Fault.clientFaults
        }
    }
}

/// The servers that keep the windows, as a run needs to know them. Another topology is another one of these, with its
/// list of faults in ``Topology``.
protocol Store: Sendable {
    /// What a daemon is given.
    var url: String { get }
    /// Whether a call's subjects may be in several slots, which no script decides at once.
    var hasSlots: Bool { get }
    /// Every server there is, each of which answers between faults.
    var servers: [RedisServer] { get }
    /// Those that decide now.
    func masters() throws -> [RedisServer]
    /// New users, so that a decision about each of them comes through each link of an event loop.
    func probes(prefix: String) throws -> [String]
    /// Finds what was lost though no fault said so, and makes sure that what has been acknowledged by now is kept.
    func secure(_ recorder: Recorder) throws
}

/// One Redis.
final class SingleStore: Store {
    let redis: RedisServer

    init() throws {
        redis = try RedisServer([
            "--enable-debug-command", "yes", "--lua-time-limit", "\(Testbed.busyAfterMilliseconds)",
        ])
    }

    var url: String { redis.unrestrictedURL }
    var hasSlots: Bool { false }
    var servers: [RedisServer] { [redis] }
    func masters() throws -> [RedisServer] { [redis] }
    func probes(prefix: String) throws -> [String] { [newUser()] }
    func secure(_ recorder: Recorder) throws {}
}

/// A cluster, with what is known of who has which slots and what its replicas certainly have.
///
/// A master answers before it replicates, so a failover may forget what was acknowledged just before. How much is not
/// guessed: behind a write and `WAIT` the replica has all that was acknowledged before, and only what comes later can be
/// lost.
final class ClusterStore: Store {
    private struct State {
        /// The port of the master that has each slot.
        var owners: [UInt16] = []
        /// By the port of a master: what was acknowledged before that instant its replica has.
        var securedMicroseconds: [UInt16: Int] = [:]
    }

    let cluster: ClusterDeployment
    private let state = Mutex(State())
    /// Longer than a busy machine keeps a process waiting; a failover takes about twice that.
    static let nodeTimeoutMilliseconds = 1_500

    init(_ recorder: Recorder) throws {
        cluster = try ClusterDeployment(nodeTimeoutMilliseconds: Self.nodeTimeoutMilliseconds)
        let owners = try owners(asKnownBy: cluster.nodes[0])
        state.withLock { $0.owners = owners }
        try secure(recorder)
    }

    var url: String { cluster.url() }
    var hasSlots: Bool { true }
    var servers: [RedisServer] { cluster.nodes.map(\.server) }
    func masters() throws -> [RedisServer] { try cluster.masters().map(\.server) }

    func probes(prefix: String) throws -> [String] {
        let owners = state.withLock { $0.owners }
        var users: [UInt16: String] = [:]
        let masters = Set(owners)
        // A master without slots has no link.
        while users.count < masters.count {
            let user = newUser()
            users[owners[HashSlots.slot(of: "\(prefix):\(user)")]] = user
        }
        return Array(users.values)
    }

    /// The master of the slot that a fault has drawn.
    func master(_ target: Int) throws -> ClusterDeployment.Node {
        let masters = try cluster.masters()
        return masters[target % masters.count]
    }

    /// The slots that a master has.
    func slots(of node: ClusterDeployment.Node) -> Set<Int> {
        state.withLock { state in Set(state.owners.indices.filter { state.owners[$0] == node.port }) }
    }

    /// The instant before which all that a master acknowledged is with its replica from now on.
    @discardableResult
    func secure(_ node: ClusterDeployment.Node) throws -> Int {
        let slots = slots(of: node)
        guard let key = (0...).lazy.map({ "chaos-mark:\($0)" }).first(where: { slots.contains(HashSlots.slot(of: $0)) })
        else { return systemMicroseconds() }
        let connection = try node.server.connect()
        var instant = 0
        let isSecured = try eventually(within: 20) {
            instant = systemMicroseconds()
            guard try connection.command("SET", key, "1", "EX", "60") == .status("OK") else { return false }
            return try connection.command("WAIT", "1", "5000").integer ?? 0 >= 1
        }
        guard isSecured else { throw TestFailure("\(node.address) does not replicate") }
        state.withLock { $0.securedMicroseconds[node.port] = instant }
        return instant
    }

    func secure(_ recorder: Recorder) throws {
        try noteLosses(recorder)
        for master in try cluster.masters() where !slots(of: master).isEmpty { try secure(master) }
    }

    /// Takes note of who has slots now, where a fault has seen to it that nothing is lost or has told what is.
    func slotsHaveMoved(_ slots: Set<Int>) throws {
        let now = try owners(asKnownBy: cluster.nodes[0])
        state.withLock { state in for slot in slots { state.owners[slot] = now[slot] } }
    }

    /// A master that has changed without a fault's doing, as on a machine that lets one wait for long.
    private func noteLosses(_ recorder: Recorder) throws {
        let now = try owners(asKnownBy: cluster.nodes[0])
        guard try cluster.nodes.allSatisfy({ try owners(asKnownBy: $0) == now }) else {
            throw TestFailure("the nodes do not agree yet")
        }
        let end = systemMicroseconds()
        let lost = state.withLock { state in
            var lost: [UInt16: (since: Int, slots: Set<Int>)] = [:]
            for slot in now.indices where now[slot] != state.owners[slot] {
                let old = state.owners[slot]
                lost[old, default: (state.securedMicroseconds[old] ?? 0, [])].slots.insert(slot)
            }
            state.owners = now
            return lost
        }
        for loss in lost.values { recorder.lost(from: loss.since, to: end, slots: loss.slots) }
    }

    /// The port of the master that has a slot.
    func owner(of slot: Int, asKnownBy node: ClusterDeployment.Node) throws -> UInt16 {
        for range in try node.command("CLUSTER", "SLOTS").elements {
            guard let first = range.elements[0].integer, let last = range.elements[1].integer,
                let port = range.elements[2].elements[1].integer, (first...last).contains(slot)
            else { continue }
            return UInt16(port)
        }
        throw TestFailure("slot \(slot) has no master")
    }

    private func owners(asKnownBy node: ClusterDeployment.Node) throws -> [UInt16] {
        var owners = [UInt16](repeating: 0, count: HashSlots.count)
        for range in try node.command("CLUSTER", "SLOTS").elements {
            guard let first = range.elements[0].integer, let last = range.elements[1].integer,
                let port = range.elements[2].elements[1].integer
            else { continue }
            for slot in first...last { owners[slot] = UInt16(port) }
        }
        guard !owners.contains(0) else { throw TestFailure("a slot has no master") }
        return owners
    }
}
