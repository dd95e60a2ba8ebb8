import Glibc
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@testable import RedisClient

@Suite("Looking a name up")
struct NameLookupTests {
    /// What the name server says: an address, an error, or nothing for as long as it is told.
    final class NameServer: Sendable {
        let address = Mutex<String?>(nil)
        let isSilent = Mutex(false)
        let lookups = Tally()

        func lookUp() throws -> [SocketAddress] {
            lookups.add()
            while isSilent.withLock({ $0 }) { pause(milliseconds: 1) }
            guard let address = address.withLock({ $0 }) else {
                throw NameLookupError.unresolved(host: "redis.test", reason: "Name or service not known")
            }
            return [try SocketAddress(ipAddress: address, port: 6379)]
        }
    }

    private func ask(_ lookup: NIOLoopBound<NameLookup>) async throws -> [String] {
        let loop = lookup.eventLoop
        let addresses = try await loop.flatSubmit {
            lookup.value.answer().initiateAQuery(host: "redis.test", port: 6379)
        }.get()
        return addresses.compactMap(\.ipAddress)
    }

    @Test("A new address is followed, and an old one is used while the name leads nowhere or the server is silent")
    func remembers() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let server = NameServer()
        let lookup = try await loop.submit {
            NIOLoopBound(NameLookup(eventLoop: loop) { try server.lookUp() }, eventLoop: loop)
        }.get()
        await #expect(throws: NameLookupError.self) { try await ask(lookup) }
        server.address.withLock { $0 = "127.0.0.1" }
        #expect(try await ask(lookup) == ["127.0.0.1"])
        server.address.withLock { $0 = "127.0.0.2" }
        #expect(try await ask(lookup) == ["127.0.0.2"])
        server.address.withLock { $0 = nil }
        #expect(try await ask(lookup) == ["127.0.0.2"])

        server.isSilent.withLock { $0 = true }
        let before = server.lookups.value
        for _ in 0..<3 { #expect(try await ask(lookup) == ["127.0.0.2"]) }
        // However often is asked, one lookup waits.
        #expect(server.lookups.value == before + 1)
        server.address.withLock { $0 = "127.0.0.3" }
        server.isSilent.withLock { $0 = false }
        var last: [String] = []
        for _ in 0..<100 where last != ["127.0.0.3"] { last = try await ask(lookup) }
        #expect(last == ["127.0.0.3"])
    }

    @Test(
        "Host names and addresses are known by the system's resolver; what it does not know is an error that names it")
    func system() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        for (host, expected) in [("127.0.0.7", "127.0.0.7"), ("localhost", "127.0.0.1")] {
            let lookup = try await loop.submit {
                NIOLoopBound(NameLookup(host: host, port: 1, eventLoop: loop), eventLoop: loop)
            }.get()
            #expect(try await ask(lookup).contains(expected))
        }
        let lookup = try await loop.submit {
            // No name at all, so that no name server is asked.
            NIOLoopBound(NameLookup(host: "a..b", port: 1, eventLoop: loop), eventLoop: loop)
        }.get()
        let error = await #expect(throws: NameLookupError.self) { try await ask(lookup) }
        #expect(error.map { "\($0)".hasPrefix("cannot look up a..b: ") } == true)
    }
}
