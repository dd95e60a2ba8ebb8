import TestSupport
import Testing

/// Tests of the built program against real redis-servers and Sentinels, one after the other: some print times.
@Suite("Sentinel", .serialized)
enum SentinelTests {}

/// A user's limit holds to the last one, over all daemons together.
func expectExact(_ daemons: [Daemon]) throws {
    let clients = try daemons.map { try $0.connect() }
    // A busy machine may make one decision late; then another user tells.
    let isExact = try eventually(within: 60) {
        let user = newUser()
        let answers = try (0..<30).map { try clients[$0 % clients.count].check(user) }
        guard !answers.contains(where: \.isDegraded) else { return false }
        #expect(answers.count { $0.status == 200 } == 20 && answers.count { $0.status == 429 } == 10)
        return true
    }
    #expect(isExact)
}

/// Waits until Redis decides again.
func waitUntilExact(_ daemon: Daemon) throws {
    let client = try daemon.connect()
    try #require(
        try eventually(within: 60) { try !client.check(newUser()).isDegraded }, "\(daemon.process.errors)")
}

/// The lines that say which master is followed, with the port each names.
func mastersFollowed(by daemon: Daemon) -> [UInt16] {
    daemon.logLines(containing: "following the master").compactMap { line in
        guard let start = line.firstRange(of: "\"master\":\"127.0.0.1:")?.upperBound else { return nil }
        return UInt16(line[start...].prefix { $0.isNumber })
    }
}
