import Foundation
import Glibc

/// A Redis Cluster of one test's own: masters with a replica each, on free ports of 127.0.0.1.
package final class ClusterDeployment: Sendable {
    /// One redis-server of the cluster; commands go to it through a Unix socket of its own.
    package struct Node: Sendable {
        package let server: RedisServer
        package let port: UInt16
        package var address: String { "127.0.0.1:\(port)" }

        @discardableResult
        package func command(_ arguments: String...) throws -> RedisReply { try server.connect().command(arguments) }

        /// A line of INFO or of CLUSTER INFO.
        package func info(_ section: String, _ name: String) throws -> String? {
            let text = try section == "cluster" ? command("CLUSTER", "INFO").text : command("INFO", section).text
            let line = text?.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(name):") }
            return line.map { String($0.dropFirst(name.count + 1)) }
        }

        package var isRunning: Bool { (try? command("PING")) == .status("PONG") }
    }

    /// The masters as they were at the start, then the replica of each.
    package let nodes: [Node]
    package let nodeTimeoutMilliseconds: Int

    /// Starts it and waits until it serves.
    ///
    /// - Parameter nodeTimeoutMilliseconds: after how long without an answer a node is taken for away.
    package init(masters: Int = 3, nodeTimeoutMilliseconds: Int = 600) throws {
        self.nodeTimeoutMilliseconds = nodeTimeoutMilliseconds
        var nodes: [Node] = []
        for _ in 0..<2 * masters {
            let port = try Self.freeClusterPort()
            let server = try RedisServer(
                [
                    "--port", "\(port)", "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                    "--cluster-node-timeout", "\(nodeTimeoutMilliseconds)", "--cluster-replica-validity-factor", "0",
                    // A master stays one whatever becomes of the others' replicas.
                    "--cluster-allow-replica-migration", "no", "--cluster-require-full-coverage", "no",
                    "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb",
                ]
            )
            nodes.append(Node(server: server, port: port))
        }
        self.nodes = nodes
        for (index, node) in nodes.prefix(masters).enumerated() {
            let first = HashSlots.count * index / masters
            let last = HashSlots.count * (index + 1) / masters - 1
            try node.command("CLUSTER", "ADDSLOTSRANGE", "\(first)", "\(last)")
        }
        for (index, node) in nodes.enumerated() { try node.command("CLUSTER", "SET-CONFIG-EPOCH", "\(index + 1)") }
        for (index, node) in nodes.enumerated() {
            for other in nodes[(index + 1)...] { try node.command("CLUSTER", "MEET", "127.0.0.1", "\(other.port)") }
        }
        for (index, node) in nodes.dropFirst(masters).enumerated() {
            let master = try nodes[index].command("CLUSTER", "MYID").text ?? ""
            guard try eventually(within: 20, { try node.command("CLUSTER", "REPLICATE", master) == .status("OK") })
            else { throw TestFailure("\(node.address) does not become a replica") }
        }
        try waitUntilWhole()
    }

    /// The URL for a daemon; the seeds are of the test's choice.
    package func url(_ seeds: [Node]? = nil) -> String {
        "redis+cluster://\((seeds ?? nodes).map(\.address).joined(separator: ","))"
    }

    /// Starts nodes again that have been ended, and waits until the cluster is as whole as at the start.
    package func heal() throws {
        for node in nodes {
            node.server.resume()
            if !node.isRunning { try node.server.restart() }
            try node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        }
        try waitUntilWhole()
    }

    /// Waits until all nodes agree, every slot is served and every replica has its master's data.
    package func waitUntilWhole() throws {
        let isWhole = try eventually(within: 30) {
            guard Set(try nodes.map { try masterPorts(as: $0) }).count == 1 else { return false }
            return try nodes.allSatisfy { node in
                guard try node.info("cluster", "cluster_state") == "ok",
                    try node.info("cluster", "cluster_slots_ok") == "\(HashSlots.count)",
                    try node.info("cluster", "cluster_known_nodes") == "\(nodes.count)"
                else { return false }
                if try node.info("replication", "role") == "slave" {
                    return try node.info("replication", "master_link_status") == "up"
                }
                return try node.info("replication", "connected_slaves") == "1"
            }
        }
        guard isWhole else {
            let views = nodes.map { (try? $0.command("CLUSTER", "NODES").text) ?? "\($0.address) does not answer" }
            throw TestFailure("the cluster does not become whole:\n\(views.joined(separator: "\n"))")
        }
    }

    private func masterPorts(as node: Node) throws -> [Int] {
        try node.command("CLUSTER", "SLOTS").elements.flatMap { range in
            [
                range.elements[0].integer ?? 0, range.elements[1].integer ?? 0,
                range.elements[2].elements[1].integer ?? 0,
            ]
        }
    }

    /// The master that has a slot, as the first node that answers knows it.
    package func master(of slot: Int) throws -> Node {
        guard let asked = nodes.first(where: \.isRunning) else { throw TestFailure("no node answers") }
        for range in try asked.command("CLUSTER", "SLOTS").elements {
            guard let first = range.elements[0].integer, let last = range.elements[1].integer,
                (first...last).contains(slot)
            else { continue }
            let port = range.elements[2].elements[1].integer
            if let node = nodes.first(where: { Int($0.port) == port }) { return node }
        }
        throw TestFailure("slot \(slot) has no master")
    }

    /// The masters that serve.
    package func masters() throws -> [Node] {
        try nodes.filter { try $0.isRunning && $0.info("replication", "role") == "master" }
    }

    /// The replica of a master.
    package func replica(of master: Node) throws -> Node {
        let replicas = try nodes.filter { node in
            guard node.isRunning, try node.info("replication", "role") == "slave" else { return false }
            return try node.info("replication", "master_port") == "\(master.port)"
        }
        guard let replica = replicas.first else { throw TestFailure("\(master.address) has no replica") }
        return replica
    }

    /// Has a slot's move to another master begin: keys still go from one to the other.
    package func beginMove(of slot: Int, to target: Node) throws {
        let source = try master(of: slot)
        let sourceID = try source.command("CLUSTER", "MYID").text ?? ""
        let targetID = try target.command("CLUSTER", "MYID").text ?? ""
        try target.command("CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", sourceID)
        try source.command("CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", targetID)
    }

    /// Moves some of a slot's keys; says how many.
    package func moveKeys(of slot: Int, to target: Node, count: Int) throws -> Int {
        let source = try master(of: slot)
        func keysInSlot() throws -> [String] {
            try source.command("CLUSTER", "GETKEYSINSLOT", "\(slot)", "\(count)").elements.compactMap(\.text)
        }
        let keys = try keysInSlot()
        for key in keys {
            let reply = try source.command("MIGRATE", "127.0.0.1", "\(target.port)", key, "0", "5000")
            // A key that has just expired is gone; one that cannot be moved would be tried for ever.
            guard try reply == .status("OK") || !keysInSlot().contains(key) else {
                throw TestFailure("\(key) is not moved: \(reply)")
            }
        }
        return keys.count
    }

    /// Gives the slot to its new master, which tells the others.
    package func endMove(of slot: Int, to target: Node) throws {
        let source = try master(of: slot)
        let targetID = try target.command("CLUSTER", "MYID").text ?? ""
        for node in [target, source] { try node.command("CLUSTER", "SETSLOT", "\(slot)", "NODE", targetID) }
    }

    /// A port below those that the system gives to connections, and whose bus port, 10,000 above, is free as well.
    private static func freeClusterPort() throws -> UInt16 {
        for _ in 0..<200 {
            let port = UInt16.random(in: 11_000..<22_000)
            if isFree(port), isFree(port + 10_000) { return port }
        }
        throw TestFailure("no port is free whose bus port is as well")
    }

    private static func isFree(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// Slots of a cluster, as the servers reckon them.
package enum HashSlots {
    package static let count = 16_384

    /// The slot of a key: CRC-16 (XMODEM) of its hash tag, or of all of it where it has none.
    package static func slot(of key: String) -> Int {
        var bytes = Array(key.utf8)[...]
        if let open = bytes.firstIndex(of: UInt8(ascii: "{")),
            let close = bytes[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
        {
            bytes = bytes[(open + 1)..<close]
        }
        var crc: UInt16 = 0
        for byte in bytes {
            crc ^= UInt16(byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
        }
        return Int(crc) % count
    }
}
