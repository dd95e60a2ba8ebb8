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
            "user:", "group:", "global", "heartbeat", "heartbeat:", "~", "%", "%41", "A", "a", ":", "{", "}", "/", "\0",
            "\n", " ",
            "é", "e\u{301}", "changes:version", "audit", "events", "invalidate", "0",
            "01234567-89ab-cdef-0123-456789abcdef",
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
        let texts = Self.texts()
        #expect(texts.count > 450)
        for text in texts {
            let id = try #require(SubjectID(text), "\(text)")
            for owner in [WindowOwner.user(id), .group(id)] {
                let key = owner.key(prefix: "llm-rate")
                #expect((owners[key] ?? owner) == owner, "\(key) of \(text)")
                owners[key] = owner
                #expect(
                    !Self.others.subtracting(["llm-rate:global"]).contains(key)
                        && key.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7b } || key.contains("~"))
                if !key.contains("~") { #expect(WindowOwner(name: key.dropFirst(9)) == owner) }
                #expect(WindowOwner(name: owner.name) == owner)
            }
        }
        // Either case of the two UUIDs is one.
        let upper = texts.count { SubjectID($0)?.isUUID == true && $0.lowercased() != $0 }
        #expect(owners.count == 1 + 2 * (texts.count - upper))
    }

    @Test("of windows for values differ for any two tuples, are no other key of ours, and are read back")
    func values() throws {
        var random = SeededGenerator(seed: 43)
        let texts =
            Self.texts() + ["model=a", "a,label:b", "=", ",", ":", "a:w:00000001", "by:model=a", "a=b,label:c=d"]
        let names = texts.filter { CallAttributes.nameLengths.contains($0.utf8.count) }
        var tuples: [String: ValueTuple] = [:]
        let plain = try Set(
            texts.flatMap { text in
                let id = try #require(SubjectID(text))
                return [WindowOwner.user(id), .group(id)].map { $0.key(prefix: "llm-rate") }
            })
        for _ in 0..<4_000 {
            let subject = try #require(SubjectID(texts.randomElement(using: &random) ?? ""))
            let owner = [WindowOwner.user(subject), .group(subject), .global].randomElement(using: &random) ?? .global
            let tuple = try ValueTuple(owner, names, texts, using: &random)
            let key = owner.key(prefix: "llm-rate", of: tuple.values)
            #expect((tuples[key] ?? tuple) == tuple, "\(key)")
            tuples[key] = tuple
            #expect(!plain.contains(key) && !SubjectKeyTests.others.contains(key))
            let isInSlot = HashSlot(key: key.utf8) == HashSlot(key: owner.key(prefix: "llm-rate").utf8)
            #expect(isInSlot || owner == .global, "\(key) is in the slot of its owner")
            tuple.expectReadBack(try #require(ValueKey(key, prefix: "llm-rate"), "\(key)"))
            // Names stand between `:by:` and `=`, and nothing of them or of a value is a colon but that behind `label`.
            let pairs = try #require(key.split(separator: ":by:").last).split(separator: ",")
            #expect(pairs.map { $0.prefix { $0 != "=" } }.joined(separator: ",") == WindowValues.names(of: tuple.names))
        }
        #expect(tuples.count > 2_000)
    }

    private static let others: Set<String> = {
        let heartbeat = HeartbeatKeys(prefix: "llm-rate")
        let budgets = BudgetKeys(prefix: "llm-rate")
        return Set(
            heartbeat.written + heartbeat.tried + [heartbeat.latest, "llm-rate:heartbeat", "llm-rate:global"]
                + [budgets.version, budgets.audit, budgets.channel, EventStream.key(prefix: "llm-rate")])
    }()

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
        let bytes = batcher.written(withSource: true)
        #expect(bytes.firstRange(of: expected) != nil)
        for (user, key) in zip(users, keys) {
            #expect(UserSlots(keyPrefix: "p").slot(of: user) == HashSlot(key: key.utf8))
        }
    }
}

/// Some values of a call, as the bytes they are.
private struct ValueTuple: Equatable {
    var owner: WindowOwner
    var names: [CallValue]
    var bytes: [[UInt8]]
    var values: WindowValues

    /// Draws one to four values, of labels with these names.
    init(
        _ owner: WindowOwner, _ labels: [String], _ texts: [String], using random: inout some RandomNumberGenerator
    ) throws {
        self.owner = owner
        func text(_ random: inout some RandomNumberGenerator) -> String { texts.randomElement(using: &random) ?? "" }
        var call = CallAttributes(model: text(&random), provider: text(&random))
        var all: Set<CallValue> = [.model, .provider]
        if case .user = owner { all.insert(.group) }
        var said: [String: String] = [:]
        for label in labels.shuffled(using: &random).prefix(3) { said[label] = text(&random) }
        call = CallAttributes(model: call.model, provider: call.provider, labels: said)
        all.formUnion(said.keys.map { .label($0) })
        let group = try #require(SubjectID(text(&random)))
        let count = Int.random(in: 1...4, using: &random)
        let names = Array(all.sorted(by: CallValue.isOrdered).shuffled(using: &random).prefix(count))
            .sorted(by: CallValue.isOrdered)
        self.names = names
        bytes = names.map { $0 == .group ? Array(group.text.utf8) : Array((call.value(of: $0) ?? "").utf8) }
        values = try #require(WindowValues(names, of: call, group: group))
    }

    static func == (one: Self, other: Self) -> Bool {
        func labels(_ names: [CallValue]) -> [[UInt8]] { names.map { Array($0.text.utf8) } }
        return one.owner == other.owner && labels(one.names) == labels(other.names) && one.bytes == other.bytes
    }

    func expectReadBack(_ key: ValueKey) {
        #expect(key.owner == (owner == .global ? nil : owner.key(prefix: "llm-rate")))
        #expect(key.pairs.count == names.count)
        for (pair, (name, value)) in zip(key.pairs, zip(names, bytes)) {
            let isLabel = if case .label = name { true } else { false }
            #expect(pair.kind == (isLabel ? "label" : name.text))
            if case .label(let text) = name, case .bytes(let read)? = pair.label { #expect(read == Array(text.utf8)) }
            if case .bytes(let read) = pair.value { #expect(read == value) }
        }
    }
}
