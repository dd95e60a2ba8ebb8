import Glibc
import TestSupport

extension Fault {
    /// What happens to the nodes of a cluster, and to who has which slots.
    static let clusterFaults: [Fault] = [
        Fault("master killed, failover") { testbed, draw in
            let store = testbed.cluster
            try store.failOver(store.master(draw.target), draw, testbed.recorder) { master in
                master.server.end()
                return {}
            }
        },
        Fault("master stopped, failover") { testbed, draw in
            let store = testbed.cluster
            try store.failOver(store.master(draw.target), draw, testbed.recorder) { master in
                master.server.stop()
                return { master.server.resume() }
            }
        },
        replicaBehind,
        Fault("CLUSTER FAILOVER") { testbed, draw in
            let store = testbed.cluster
            let master = try store.master(draw.target)
            let slots = store.slots(of: master)
            let replica = try store.cluster.replica(of: master)
            try replica.command("CLUSTER", "FAILOVER")
            // One whose master gives it no answer in time is given up by Redis, and nothing has changed.
            _ = try eventually(within: 10) { try replica.info("replication", "role") == "master" }
            try store.cluster.waitUntilWhole()
            try store.slotsHaveMoved(slots)
        },
        Fault("node restarted") { testbed, draw in
            try testbed.cluster.restart(draw, testbed.recorder)
        },
        Fault("replica killed -9") { testbed, draw in
            let store = testbed.cluster
            let replica = try store.cluster.replica(of: store.master(draw.target))
            replica.server.end()
            pause(milliseconds: draw.durationMilliseconds)
            try store.cluster.heal()
        },
        Fault("node stopped") { testbed, draw in
            // Not for so long that another takes over.
            let nodes = testbed.cluster.cluster.nodes
            let node = nodes[draw.target % nodes.count]
            node.server.stop()
            pause(milliseconds: min(draw.durationMilliseconds, ClusterStore.nodeTimeoutMilliseconds / 3))
            node.server.resume()
            try testbed.cluster.cluster.waitUntilWhole()
        },
        Fault("node stutters") { testbed, draw in
            let master = try testbed.cluster.master(draw.target)
            for round in 0..<8 {
                master.server.stop()
                // About a decision's deadline: some checks are given up, and some are not.
                pause(milliseconds: 35 + (draw.durationMilliseconds + 7 * round) % 40)
                master.server.resume()
                pause(milliseconds: 30)
            }
        },
        Fault("slots moved") { testbed, draw in
            // Those of users who are asked for now, and of as many others: with their keys, to the next master.
            let slots = testbed.groups.flatMap(\.slots).shuffled(by: draw.target).prefix(4)
            for slot in slots { try testbed.cluster.move(slot) }
        },
    ]

    package static let replicaBehind = Fault("replica behind, failover") { testbed, draw in
        try testbed.cluster.failOverBehind(draw, testbed.recorder, asked: testbed.groups.flatMap(\.slots))
    }
    /// Not a fault that is survived but one that a run must find: a failover forgets, and the recorder is not told.
    package static let untoldFailover = Fault("untold failover") { testbed, draw in
        try testbed.cluster.failOverBehind(draw, nil, asked: testbed.groups.flatMap(\.slots))
    }

    /// What somebody does to the nodes by commands.
    static let clusterCommandFaults: [Fault] = [
        Fault("SCRIPT, FUNCTION FLUSH") { testbed, _ in
            for _ in 0..<5 {
                for master in try testbed.store.masters() {
                    try master.command("SCRIPT", "FLUSH")
                    try master.command("FUNCTION", "FLUSH")
                }
                pause(milliseconds: 20)
            }
        },
        Fault("FLUSHALL of a master") { testbed, draw in
            let master = try testbed.cluster.master(draw.target)
            let start = systemMicroseconds()
            try master.command("FLUSHALL")
            testbed.recorder.forgot(
                from: start, to: systemMicroseconds(), slots: testbed.cluster.slots(of: master))
        },
        Fault("CLIENT KILL") { testbed, _ in
            for _ in 0..<3 {
                for master in try testbed.store.masters() {
                    try master.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    try master.command("CLIENT", "KILL", "TYPE", "pubsub")
                }
                pause(milliseconds: 30)
            }
        },
        Fault("CLIENT PAUSE of a master") { testbed, draw in
            let master = try testbed.cluster.master(draw.target)
            try master.command("CLIENT", "PAUSE", "\(draw.durationMilliseconds)", "ALL")
            pause(milliseconds: draw.durationMilliseconds)
        },
        Fault("memory full, noeviction") { testbed, draw in
            let master = try testbed.cluster.master(draw.target)
            try master.command("CONFIG", "SET", "maxmemory", "1")
            pause(milliseconds: draw.durationMilliseconds)
            try master.command("CONFIG", "SET", "maxmemory", "0")
        },
        Fault("permission revoked") { testbed, draw in
            let master = try testbed.cluster.master(draw.target)
            try master.command("ACL", "SETUSER", "default", "-evalsha", "-eval")
            pause(milliseconds: draw.durationMilliseconds)
            try master.command("ACL", "SETUSER", "default", "+evalsha", "+eval")
        },
    ]
}

extension ClusterStore {
    /// Has a master fall out until its replica has taken over, and come back as the replica.
    ///
    /// What the replica may not have is what was acknowledged from the write that it certainly has until the master fell
    /// out; and where the master goes on as one for a moment, what it acknowledges until it knows better.
    fileprivate func failOver(
        _ master: ClusterDeployment.Node, _ draw: Fault.Draw, _ recorder: Recorder?,
        by strike: (ClusterDeployment.Node) throws -> () -> Void
    ) throws {
        let slots = slots(of: master)
        let secured = try secure(master)
        let goOn = try strike(master)
        recorder?.lost(from: secured, to: systemMicroseconds(), slots: slots)
        let others = cluster.nodes.filter { $0.port != master.port }
        guard let slot = slots.first else { throw TestFailure("\(master.address) has no slots") }
        let isTaken = eventually(within: 60) {
            others.allSatisfy { node in (try? owner(of: slot, asKnownBy: node)).map { $0 != master.port } ?? false }
        }
        guard isTaken else { throw TestFailure("the replica of \(master.address) does not take over") }
        pause(milliseconds: draw.durationMilliseconds)
        let goesOn = systemMicroseconds()
        goOn()
        if master.isRunning {
            guard try eventually(within: 30, { try master.info("replication", "role") == "slave" }) else {
                throw TestFailure("\(master.address) does not step down")
            }
            recorder?.lost(from: goesOn, to: systemMicroseconds(), slots: slots, fork: secured)
        }
        try cluster.heal()
        try slotsHaveMoved(slots)
    }

    /// Cuts a replica off for a moment, in which its master acknowledges what nobody else has, and then kills the master.
    ///
    /// - Parameter slots: those asked for now; the master is one that has some of them.
    fileprivate func failOverBehind(_ draw: Fault.Draw, _ recorder: Recorder?, asked slots: [Int]) throws {
        let asked = try cluster.masters().map { master in
            let own = self.slots(of: master)
            return (master: master, count: slots.count(where: own.contains))
        }
        guard let master = asked.max(by: { $0.count < $1.count })?.master else { throw TestFailure("no master") }
        try failOver(master, draw, recorder) { master in
            let replica = try cluster.replica(of: master)
            replica.server.stop()
            // What the replica has not read yet goes with its connection, which it cannot make again while it is stopped.
            try master.command("CLIENT", "KILL", "TYPE", "replica")
            pause(milliseconds: 500)
            master.server.end()
            replica.server.resume()
            return {}
        }
    }

    /// Kills a master and starts it again at once. It comes back empty, unless its replica was faster.
    fileprivate func restart(_ draw: Fault.Draw, _ recorder: Recorder) throws {
        let master = try master(draw.target)
        let slots = slots(of: master)
        let secured = try secure(master)
        let start = systemMicroseconds()
        master.server.end()
        let end = systemMicroseconds()
        try master.server.restart()
        try cluster.heal()
        if try master.info("replication", "role") == "master" {
            recorder.forgot(from: start, to: end, slots: slots)
        } else {
            recorder.lost(from: secured, to: end, slots: slots)
        }
        try slotsHaveMoved(slots)
    }

    /// Gives a slot to another master under load, key by key.
    fileprivate func move(_ slot: Int) throws {
        let masters = try cluster.masters()
        let source = try cluster.master(of: slot)
        guard let place = masters.firstIndex(where: { $0.port == source.port }) else { return }
        let target = masters[(place + 1) % masters.count]
        try cluster.beginMove(of: slot, to: target)
        while try cluster.moveKeys(of: slot, to: target, count: 2) > 0 { pause(milliseconds: 1) }
        try cluster.endMove(of: slot, to: target)
        // A node that does not hear of it in time would send the daemons back and forth.
        try cluster.waitUntilWhole()
        try slotsHaveMoved([slot])
    }
}

extension Array where Element == Int {
    /// The same for the same seed.
    fileprivate func shuffled(by seed: Int) -> [Int] {
        var random = SeededGenerator(seed: UInt64(seed))
        return shuffled(using: &random)
    }
}
