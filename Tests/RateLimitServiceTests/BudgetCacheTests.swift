import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("The table that forgets what was used longest ago")
struct LeastRecentlyUsedTests {
    @Test("does what a list does that is kept in the order of use")
    func model() {
        var random = SeededGenerator(seed: 4)
        for (capacity, keys) in [(1, 12), (2, 12), (3, 12), (8, 12), (300, 400)] {
            var table = LeastRecentlyUsed<Int, Int>(capacity: capacity)
            var model: [(key: Int, value: Int)] = []
            for step in 0..<20_000 {
                let key = Int.random(in: 0..<keys, using: &random)
                switch Int.random(in: 0..<100, using: &random) {
                case 0 where keys < 100 || step.isMultiple(of: 16):
                    table.removeAll()
                    model = []
                case 1..<20:
                    table.remove(key)
                    model.removeAll { $0.key == key }
                case 20..<60:
                    table.set(step, for: key)
                    model.removeAll { $0.key == key }
                    model.append((key, step))
                    if model.count > capacity { model.removeFirst() }
                case 60..<75:
                    table.update(key, from: -step) { $0 += 2 * step }
                    let value = model.first { $0.key == key }?.value ?? -step
                    model.removeAll { $0.key == key }
                    model.append((key, value + 2 * step))
                    if model.count > capacity { model.removeFirst() }
                default:
                    let expected = model.first { $0.key == key }
                    #expect(table.value(for: key) == expected?.value)
                    model.removeAll { $0.key == key }
                    if let expected { model.append(expected) }
                }
                #expect(table.count == model.count)
            }
        }
    }

    @Test("takes its memory with the first entry, and no more when it is forgotten and filled again")
    func memory() {
        var table = LeastRecentlyUsed<Int, Int>(capacity: 5_000)
        table.removeAll()
        #expect(table.reservedBytes == 0)
        table.set(0, for: 0)
        let entries = table.reservedBytes
        for key in 1..<5_000 { table.set(key, for: key) }
        let reserved = table.reservedBytes
        // All that grows is the index: to four bytes a slot, of which at most half are taken, in a power of two.
        #expect(reserved - entries <= 16_384 * 4)
        for _ in 0..<2 {
            table.removeAll()
            #expect(table.count == 0 && table.reservedBytes == reserved)
            for key in 5_000..<15_000 { table.set(key, for: key) }
            #expect(table.count == 5_000 && table.reservedBytes == reserved)
            #expect((10_000..<15_000).allSatisfy { table.value(for: $0) == $0 })
        }
    }
}

@Suite("What is remembered of budgets")
struct BudgetCacheTests {
    private var cache = BudgetCache(users: 4, groups: 4)
    private let user = SubjectID(high: 1, low: 1)
    private let other = SubjectID(high: 2, low: 2)
    private let standing = UserStanding(budget: nil, groups: [SubjectID(high: 3, low: 3)])

    private func at(_ milliseconds: Int64) -> NIODeadline {
        .uptimeNanoseconds(1_000_000_000) + .milliseconds(milliseconds)
    }

    private mutating func remember(_ user: SubjectID, at milliseconds: Int64 = 0) {
        guard case .load(let ticket) = cache.users.load(user, at: at(milliseconds)) else { return }
        cache.users.loaded(user, standing, ticket: ticket)
    }

    private func notice(_ subject: BudgetSubject, _ before: String, _ version: String) -> ChangeNotice {
        ChangeNotice(.budget(subject), versionBefore: before, version: version)
    }

    @Test("is believed for 750 ms after the version was asked for, not after the answer, and before that never")
    mutating func belief() {
        #expect(!cache.isBelieved(at: at(0)))
        cache.polled("1", sentAt: at(0))
        #expect(cache.isBelieved(at: at(749)) && !cache.isBelieved(at: at(750)))
        cache.polled("1", sentAt: at(500))
        // An answer that comes late says nothing that is not known.
        cache.polled("1", sentAt: at(250))
        #expect(cache.isBelieved(at: at(1_249)) && !cache.isBelieved(at: at(1_250)))
    }

    @Test("stays while the version stays, and goes with another, with none, and with one that is older")
    mutating func versions() {
        cache.polled("1", sentAt: at(0))
        remember(user)
        cache.polled("1", sentAt: at(5_000))
        #expect(cache.users.value(of: user) == standing)
        for version in ["2", "-", "1"] {
            remember(user)
            #expect(cache.users.value(of: user) == standing)
            cache.polled(version, sentAt: at(5_000))
            #expect(cache.users.value(of: user) == nil)
        }
    }

    @Test("a message that follows on what is known forgets the one it names, of users or of groups")
    mutating func messages() {
        cache.polled("1", sentAt: at(0))
        remember(user)
        remember(other)
        cache.heard(notice(.group(user), "1", "2"))
        #expect(cache.users.value(of: user) == standing)
        cache.heard(notice(.user(user), "2", "3"))
        #expect(cache.users.value(of: user) == nil)
        #expect(cache.users.value(of: other) == standing)
        // The poll has nothing to add.
        cache.polled("3", sentAt: at(100))
        #expect(cache.users.value(of: other) == standing)
    }

    @Test("a message behind one that was missed forgets all, and so does one that comes late")
    mutating func missed() {
        cache.polled("1", sentAt: at(0))
        remember(other)
        cache.heard(notice(.user(user), "2", "3"))
        #expect(cache.users.value(of: other) == nil)
        remember(other)
        cache.heard(notice(.user(user), "1", "2"))
        #expect(cache.users.value(of: other) == nil)
        remember(other)
        cache.polled("3", sentAt: at(100))
        #expect(cache.users.value(of: other) == nil)
    }

    @Test("an answer that was asked for before a change was heard of is not remembered")
    mutating func overtaken() {
        cache.polled("1", sentAt: at(0))
        for forgetting in 0..<3 {
            guard case .load(let ticket) = cache.users.load(user, at: at(10)) else {
                Issue.record("something is still asked for")
                return
            }
            switch forgetting {
            case 0: cache.forget(.user(user))
            case 1: cache.polled("2", sentAt: at(10))
            default: cache.heard(notice(.user(user), "2", "3"))
            }
            // Whoever asks now asks Redis anew.
            guard case .load(let next) = cache.users.load(user, at: at(11)) else {
                Issue.record("waits for an answer from before the change")
                return
            }
            cache.users.loaded(user, standing, ticket: ticket)
            #expect(cache.users.value(of: user) == nil)
            cache.users.loaded(user, standing, ticket: next)
            #expect(cache.users.value(of: user) == standing)
        }
    }

    @Test("what is asked for is waited for, but not when it has been on its way for long; a failure is not remembered")
    mutating func joined() {
        guard case .load(let ticket) = cache.users.load(user, at: at(0)) else { return }
        #expect(cache.users.load(user, at: at(749)) == .join(ticket))
        #expect(cache.users.load(user, at: at(750)) == .load(ticket + 1))
        #expect(cache.users.load(user, at: at(751)) == .join(ticket + 1))
        cache.users.loaded(user, nil, ticket: ticket + 1)
        #expect(cache.users.value(of: user) == nil)
        #expect(cache.users.load(user, at: at(752)) == .load(ticket + 2))
    }

    @Test("is bounded")
    mutating func bounded() {
        cache.polled("1", sentAt: at(0))
        for low in UInt64(0)..<100 { remember(SubjectID(high: 9, low: low)) }
        #expect(cache.users.count == 4)
        #expect(cache.users.value(of: SubjectID(high: 9, low: 99)) == standing)
    }

    @Test("a message is read as it is written, and nothing else is taken for one")
    func texts() throws {
        let other = try #require(SubjectID("a b\n%"))
        for subject in [BudgetSubject.user(user), .group(user), .user(other), .group(other)] {
            let text = "\(ChangeNotice.Change.budget(subject).text) - 17"
            #expect(ChangeNotice(text) == notice(subject, "-", "17"))
        }
        for invalidation in [Invalidation.everyone, .reset(.user(other)), .reset(.global), .denials(.group(user))] {
            let text = "\(ChangeNotice.Change.denials(invalidation).text) 16 17"
            #expect(ChangeNotice(text) == ChangeNotice(.denials(invalidation), versionBefore: "16", version: "17"))
        }
        for text in [
            "", "*", "* 1", "\(user)", "\(user) 1", "x y 1 2", "denials  1 2", "budget", "budget user x y - 1",
            "budget user %41 - 1", "budget user  - 1",
            "budget team \(user) - 1", "budget user \(user) 1",
        ] {
            #expect(ChangeNotice(text) == nil, "\(text)")
        }
    }
}
