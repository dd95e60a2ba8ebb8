import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

@Suite("The keys of users and groups")
struct SubjectKeyTests {
    /// Texts that come close to each other and to keys of ours, from pieces that matter to keys.
    private static func texts() -> [String] {
        var random = SeededGenerator(seed: 41)
        let pieces = [
            "user:", "group:", "global", "beat", "heartbeat:", "~", "%", "%41", "A", "a", ":", "{", "}", "/", "\0",
            "\n", " ",
            "é", "e\u{301}", "budgets:version", "audit", "invalidate", "0", "01234567-89ab-cdef-0123-456789abcdef",
            "01234567-89AB-CDEF-0123-456789ABCDEF", String(repeating: "k", count: 64), "llm-rate:", "check:", "😀",
        ]
        var texts = Set(pieces.map { Array($0.utf8) })
        while texts.count < 400 {
            let text = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                pieces[Int.random(in: pieces.indices, using: &random)]
            }.joined()
            if text.utf8.count <= 256 { texts.insert(Array(text.utf8)) }
        }
        for name in Array(texts.prefix(60)) {
            guard let id = name.withUnsafeBytes({ SubjectID($0) }) else { continue }
            // What one is called in a key is a text as well.
            for kind in [SubjectID.Kind.user, .group] { texts.insert(Array(id.keyName(of: kind).utf8)) }
        }
        return texts.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("differ for any two of them, are none of the others of ours, and are read back where they hold no digest")
    func pairs() throws {
        var owners: [String: WindowOwner] = ["llm-rate:global": .global]
        let heartbeat = HeartbeatKeys(prefix: "llm-rate")
        let budgets = BudgetKeys(prefix: "llm-rate")
        let others = Set(
            heartbeat.written + heartbeat.tried + [heartbeat.beat, "llm-rate:beat"]
                + [budgets.version, budgets.audit, budgets.channel])
        let texts = Self.texts()
        #expect(texts.count > 450)
        for text in texts {
            let id = try #require(SubjectID(text), "\(text)")
            for owner in [WindowOwner.user(id), .group(id)] {
                let key = owner.key(prefix: "llm-rate")
                #expect((owners[key] ?? owner) == owner, "\(key) of \(text)")
                owners[key] = owner
                #expect(!others.contains(key) && key.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7b } || key.contains("~"))
                if !key.contains("~") { #expect(WindowOwner(name: key.dropFirst(9)) == owner) }
                #expect(WindowOwner(name: owner.name) == owner)
            }
        }
        // Either case of the two UUIDs is one.
        let upper = texts.count { SubjectID($0)?.isUUID == true && $0.lowercased() != $0 }
        #expect(owners.count == 1 + 2 * (texts.count - upper))
    }

    @Test("are written into a batch of checks as they are called, beside those of UUIDs")
    func script() throws {
        let users =
            try ["01234567-89ab-cdef-0123-456789abcdef", "alice@example.com", "tenant/αβγ"].map {
                try #require(SubjectID($0))
            } + [try #require(SubjectID(String(repeating: "é", count: 100)))]
        let batcher = ScriptBatcher(
            keyPrefix: "p", limit: Limit(name: "x", quota: 20, windowMilliseconds: 1_000))
        for (cost, user) in users.enumerated() { batcher.append(user, cost: cost + 1) }
        let keys = users.map { WindowOwner.user($0).key(prefix: "p") }
        // Behind the keys stand a byte for each check and its cost in six.
        let expected =
            Array("$1\r\n4\r\n".utf8) + keys.flatMap { Array("$\($0.utf8.count)\r\n\($0)\r\n".utf8) }
            + Array("$4\r\n".utf8) + [0, 0, 0, 0] + Array("\r\n$24\r\n".utf8)
            + (1...4).flatMap { littleEndian($0, 6) } + Array("\r\n".utf8)
        let bytes = batcher.written(inFull: true)
        #expect(bytes.firstRange(of: expected) != nil)
        for (user, key) in zip(users, keys) {
            #expect(UserSlots(keyPrefix: "p").slot(of: user) == HashSlot(key: key.utf8))
        }
    }
}
