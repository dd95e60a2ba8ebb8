import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("A lease")
struct LeaseTests {
    private let owner = someUser()
    private let groups = [someUser(), someUser()]

    private func lease(
        _ attributes: CallAttributes,
        instants: LeaseInstants = LeaseInstants(
            givenAtMilliseconds: 1_795_824_000_000, lapsesAtMilliseconds: 1_795_824_060_000), cost: Int = 1,
        holdsNothing: Bool = false,
        inGroups: Bool = false, isGlobal: Bool = false
    ) -> Lease {
        var random = SystemRandomNumberGenerator()
        return Lease(
            of: owner, instants: instants, cost: cost, attributes: attributes, holdsNothing: holdsNothing,
            isHeldInGroups: inGroups, isGlobal: isGlobal, using: &random)
    }

    @Test("is read back from its text, whatever the call said about itself")
    func text() throws {
        let labels = ["route": "chat", "é": ""]
        for attributes in [
            CallAttributes.none, CallAttributes(model: "", provider: nil), CallAttributes(provider: "p"),
            CallAttributes(model: "gpt-4o", provider: "openai", labels: labels, groups: groups),
        ] {
            for (inGroups, isGlobal) in [(false, false), (true, false), (false, true), (true, true)] {
                let lease = lease(attributes, cost: 1_000_000, inGroups: inGroups, isGlobal: isGlobal)
                #expect(Lease(lease.text) == lease)
                #expect(lease.text.wholeMatch(of: /[A-Za-z0-9_-]+/) != nil)
            }
            let nothing = lease(attributes, holdsNothing: true)
            #expect(try #require(Lease(nothing.text)).holdsNothing)
        }
        for (given, lapses, spread) in [(0, 0, 0), (5, 1 << 48 - 1, 2), (1 << 48 - 1, 7, 65_535)] {
            let instants = LeaseInstants(
                givenAtMilliseconds: given, lapsesAtMilliseconds: lapses, spreadMilliseconds: spread)
            #expect(try #require(Lease(lease(.none, instants: instants).text)).instants == instants)
        }
    }

    private func heldBy(
        _ values: [ValueWindows?], _ attributes: CallAttributes
    ) throws -> Lease {
        var random = SystemRandomNumberGenerator()
        return Lease(
            of: owner, instants: .unknown, cost: 1, attributes: attributes, isHeldInGroups: false, isGlobal: false,
            heldValues: try values.map { try #require($0) }, using: &random)
    }

    @Test("says by which values it is held, and is read back")
    func values() throws {
        let call = CallAttributes(
            model: "m", provider: "p", labels: ["session": "1", "tenant": "2", "e\u{301}": "3"], groups: groups)
        let all: [ValueWindows?] = [
            ValueWindows(.user, [.label("session")]), ValueWindows(.user, [.group, .model]),
            ValueWindows(.user, [.group, .provider, .label("tenant"), .label("e\u{301}")]),
            ValueWindows(.group, [.model, .provider, .label("session")]), ValueWindows(.global, [.label("tenant")]),
        ]
        for count in 0...all.count {
            let lease = try heldBy(Array(all.prefix(count)), call)
            #expect(Lease(lease.text) == lease && Lease(lease.text)?.heldValues.count == count)
            for length in 0..<lease.text.utf8.count { #expect(Lease(lease.text.prefix(length)) == nil) }
        }
        let lease = try heldBy([ValueWindows(.user, [.label("session")])], CallAttributes(labels: ["session": "1"]))
        let bytes = try #require(Base64URL.bytes(of: lease.text.utf8))
        // The last three: one of them, of a user by a label, the first. Then no such scope, label, or twice the same.
        #expect(bytes.suffix(3) == [1, 1 << 5, 0])
        for wrong: [UInt8] in [
            [1, 1 << 5 | 3, 0], [1, 1 << 5, 1], [1, 0], [2, 1 << 5, 0, 1 << 5, 0], [1, 1 << 5 | 5, 0],
        ] {
            #expect(Lease(Base64URL.text(of: bytes.dropLast(3) + wrong)) == nil, "\(wrong)")
        }
    }

    @Test("is none where it is held by what it does not say")
    func unsaidValues() throws {
        let (model, label) = (ValueWindows(.user, [.model]), ValueWindows(.user, [.label("s")]))
        for (held, call) in [(model, CallAttributes(provider: "m")), (label, CallAttributes(labels: ["s": ""]))] {
            #expect(Lease(try heldBy([held], call).text) == nil)
        }
    }

    @Test("carries of too many labels those that it is held by, and is held by no other")
    func neededLabels() throws {
        let names = (0..<80).map { "l\($0 + 10)" }
        let call = CallAttributes(labels: Dictionary(uniqueKeysWithValues: names.map { ($0, "v") }))
        let held = try heldBy(names.suffix(12).map { ValueWindows(.user, [.label($0)]) }, call)
        let read = try #require(Lease(held.text))
        #expect(read.heldValues == held.heldValues)
        #expect(read.attributes.labels.keys.sorted() == names.prefix(4) + names.suffix(12))
        let tooMany = try heldBy(names.suffix(64).map { ValueWindows(.user, [.label($0)]) }, call)
        #expect(Lease(tooMany.text)?.heldValues == Array(tooMany.heldValues.prefix(16)))
    }

    @Test("is known to Redis by its id and the instants that Redis said")
    func mark() {
        let lease = lease(.none)
        #expect(lease.mark == LeaseMark(id: lease.id, instants: lease.instants))
        let given = LeaseInstants(givenAtMilliseconds: 5, lapsesAtMilliseconds: 9, spreadMilliseconds: 2)
        #expect(lease.given(at: given).mark == LeaseMark(id: lease.id, instants: given))
        // A renewed one is as old as it was.
        let renewed = LeaseInstants(givenAtMilliseconds: 7, lapsesAtMilliseconds: 19)
        #expect(
            lease.given(at: given).renewed(until: renewed).instants
                == LeaseInstants(givenAtMilliseconds: 5, lapsesAtMilliseconds: 19, spreadMilliseconds: 2))
    }

    @Test("that several servers hold says between which instants all of them gave it, however far apart these are")
    func spread() {
        func instants(_ given: Int, _ spread: Int = 0) -> LeaseInstants {
            LeaseInstants(givenAtMilliseconds: given, lapsesAtMilliseconds: 9, spreadMilliseconds: spread)
        }
        let unknown = LeaseInstants.unknownSpread
        for (one, other, both) in [
            (instants(7), instants(7), instants(7)), (instants(7), instants(10), instants(10, 3)),
            (instants(10, 3), instants(8), instants(10, 3)), (instants(10, 3), instants(4), instants(10, 6)),
            (instants(10, 3), instants(20, 1), instants(20, 13)),
            (instants(0), instants(unknown - 1), instants(unknown - 1, unknown - 1)),
            (instants(0), instants(unknown), instants(unknown, unknown)),
            (instants(5, unknown), instants(5), instants(5, unknown)),
        ] {
            #expect(one.latest(other) == both && other.latest(one) == both)
        }
    }

    @Test("that holds nothing is charged once by Redis, which does not know it")
    func markOfNothing() {
        let lease = lease(.none, holdsNothing: true)
        #expect(lease.mark.instants.givenAtMilliseconds == 0)
        #expect(lease.mark.instants.lapsesAtMilliseconds == lease.instants.lapsesAtMilliseconds)
    }

    @Test("of a call that says as much as it may has a text of the bound, and no text is longer")
    func bound() throws {
        let long = String(repeating: "x", count: CallAttributes.maximumValueLength) + "🚀"
        let names = (0..<Lease.maximumLabels).map { number in
            "\(10 + number)" + String(repeating: "n", count: CallAttributes.nameLengths.upperBound - 2)
        }
        let labels = Dictionary(uniqueKeysWithValues: names.map { ($0, long) })
        let groups = try (0..<CallAttributes.maximumGroups).map { number in
            try #require(SubjectID(String(repeating: "g", count: 253) + "\(100 + number)"))
        }
        let quotas = try (0..<LimitSet.maximumCount).map { number in
            try #require(CallQuota(of: .max - UInt32(number), LimitDefinition.quotas.upperBound))
        }
        let attributes = CallAttributes(
            model: long, provider: long, labels: labels, groups: groups, quotas: quotas)
        #expect(attributes.quotas == quotas.reversed())
        var random = SystemRandomNumberGenerator()
        let most = Lease(
            of: groups[0], instants: .unknown, cost: 1, attributes: attributes, isHeldInGroups: true,
            isGlobal: true, heldValues: try mostValues(names), using: &random)
        #expect(most.text.utf8.count == Lease.maximumTextLength && Lease(most.text) == most)
        #expect(Lease(most.text + "AAAA") == nil)
        // A body's bound leaves room for what else it says.
        #expect(Lease.maximumTextLength < 65_536 * 5 / 6)
    }

    /// As many as limits can have, of four labels each.
    private func mostValues(_ names: [String]) throws -> [ValueWindows] {
        // Two bits say which of four labels it is.
        try (0..<LimitSet.maximumCount).map { number in
            let labels = (0..<CallValue.maximumCount).map { names[4 * $0 + number >> (2 * $0) & 3] }
            return try #require(ValueWindows(.user, labels.map { .label($0) }))
        }
    }

    @Test("is none where any byte is missing or too many, or stands where it may not")
    func refused() throws {
        let lease = lease(CallAttributes(model: "m", provider: "p", groups: groups))
        let text = lease.text
        for length in 0..<text.utf8.count { #expect(Lease(text.prefix(length)) == nil) }
        #expect(Lease(text + "AA") == nil && Lease(text + "=") == nil)
        let bytes = try #require(Base64URL.bytes(of: text.utf8))
        func changed(_ change: (inout [UInt8]) -> Void) -> Lease? {
            var changed = bytes
            change(&changed)
            return Lease(Base64URL.text(of: changed))
        }
        #expect(changed { _ in } == lease)
        // The version, the cost, a flag that is not known, one group twice, an owner of another length.
        #expect(changed { $0[0] = 3 } == nil)
        #expect(changed { $0.replaceSubrange(41..<45, with: [0, 0, 0, 0]) } == nil)
        #expect(changed { $0[45] |= 0x40 } == nil && changed { $0[45] |= 0x80 } == nil)
        #expect(changed { $0.replaceSubrange(65..<83, with: $0[47..<65]) } == nil)
        #expect(changed { $0[24] = 16 } == nil)
    }

    @Test("carries any text as its owner and its groups, and no UUID as a text")
    func texts() throws {
        var random = SystemRandomNumberGenerator()
        for text in ["a", "alice@example.com", "tenant/αβγ", "\0\n", String(repeating: "k", count: 256)] {
            let id = try #require(SubjectID(text))
            let lease = Lease(
                of: id, instants: .unknown, cost: 1, attributes: CallAttributes(groups: [owner, id]),
                isHeldInGroups: true, isGlobal: false, using: &random)
            #expect(Lease(lease.text) == lease && Lease(lease.text)?.owner == id)
        }
        let uuid = Array("01234567-89ab-cdef-0123-456789abcdef".utf8)
        let bytes = try #require(Base64URL.bytes(of: lease(.none).text.utf8))
        let asText = bytes[..<23] + [0, 36] + uuid + bytes[41...]
        #expect(Lease(Base64URL.text(of: Array(asText))) == nil)
    }

    @Test("has one text: base64url is read as it is written, and in no other way")
    func oneText() {
        for count in 0..<40 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ 7) }
            let text = Base64URL.text(of: bytes)
            #expect(Base64URL.bytes(of: text.utf8) == bytes)
            #expect(text.utf8.count == (4 * count + 2) / 3)
        }
        for wrong in ["A", "AAAAA", "AB", "AAB", "AA=", "A+==", "é", "A A"] {
            #expect(Base64URL.bytes(of: wrong.utf8) == nil, "\(wrong)")
        }
    }

    @Test("says whose call it is, and what it said; a settle says by which model and provider it was served")
    func underItsLease() throws {
        let said = CallAttributes(
            model: "big", provider: "a", labels: ["route": "chat"], groups: groups)
        let lease = lease(said, cost: 3)
        func settle(_ attributes: CallAttributes) -> CallRequest {
            CallRequest(
                user: someUser(), operation: .settle(lease), attributes: attributes, tokens: TokenUsage(input: 1)
            )
            .underItsLease()
        }
        let plain = settle(.none)
        #expect(plain.user == owner && plain.cost == 3 && plain.attributes == said)
        let other = CallAttributes(
            model: "small", labels: ["route": "batch"], groups: [someUser()])
        let served = settle(other).attributes
        #expect(served.model == "small" && served.provider == "a")
        #expect(served.labels == said.labels && served.groups == groups)
        let check = CallRequest(user: owner, attributes: other)
        #expect(check.underItsLease() == check)
    }
}

/// What a settle is charged to, as a value.
@Suite("The plan of a call with a lease")
struct LeasePlanTests {
    private let user = someUser()
    private let group = someUser()

    private func limit(
        _ name: String, _ scope: LimitScope = .user, _ unit: LimitUnit = .tokens(.total), model: String? = nil
    ) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: scope, unit: unit, quota: 10_000,
            window: unit == .concurrency ? nil : .sliding(milliseconds: 60_000),
            matches: model.map { [LabelMatch(.model, anyOf: [.exact($0)])] } ?? [])
    }

    private func plan(_ request: CallRequest, under limits: [LimitDefinition]) throws -> PlannedCall {
        let price = { try #require(ModelPrice(input: $0, output: $0)) }
        let limits = LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(limits), policy: .min),
            prices: try PriceTable(
                [
                    PriceTable.Entry(.exact("big"), price(9_000_000)),
                    PriceTable.Entry(.exact("small"), price(1_000_000)),
                ],
                unknownModel: .deny))
        let request = request.underItsLease()
        return try planned(
            request, under: limits,
            for: CallerBudgets(
                budget: nil, groups: request.attributes.groups.map { CallerBudgets.Group(id: $0, budget: nil) }))
    }

    private func lease(under limits: [LimitDefinition]) throws -> Lease {
        let request = CallRequest(
            user: user, operation: .reserve(milliseconds: 1_000),
            attributes: CallAttributes(model: "big", groups: [group]), cost: 2)
        return try #require(try plan(request, under: limits).lease)
    }

    private func settle(_ lease: Lease, by settler: SubjectID? = nil, model: String? = nil) throws -> CallRequest {
        CallRequest(
            user: settler ?? user, operation: .settle(lease), attributes: CallAttributes(model: model),
            tokens: TokenUsage(input: 5_000))
    }

    /// What each limit is charged, by its name.
    private func costs(_ call: PlannedCall) -> [String: Int] {
        Dictionary(zip(call.told.map(\.limit.name.text), call.toldCosts)) { $0 + $1 }
    }

    private func keys(_ call: PlannedCall) -> [String] { call.keys }

    @Test("charges what is in force now, under any name, and frees whatever was held")
    func renamed() throws {
        let lease = try lease(under: [limit("old"), limit("team", .group), limit("all", .global)])
        let renamed = try plan(settle(lease), under: [limit("new"), limit("calls", .user, .requests)])
        #expect(costs(renamed) == ["new": 5_000, "calls": 2])
        #expect(keys(renamed) == ["x:\(user)", "x:group:\(group)", "x:global"])
        let further = try plan(settle(try self.lease(under: [limit("old")])), under: [limit("team", .group)])
        #expect(costs(further) == ["team": 5_000] && keys(further) == ["x:\(user)", "x:group:\(group)"])
    }

    @Test("counts nothing in a unit that the limit had before")
    func unit() throws {
        let lease = try lease(under: [limit("daily", .user, .spend)])
        let plan = try plan(settle(lease), under: [limit("daily", .user, .requests)])
        #expect(costs(plan) == ["daily": 2])
        #expect(plan.call?.subjects[0].terms[0].id != LimitDefinition.id(of: plan.told[0].limit.name, in: .spend))
    }

    @Test("prices and matches by the model that the settle names, and by the lease's where it names none")
    func model() throws {
        let limits = [
            try limit("spend", .user, .spend), try limit("of-big", model: "big"), try limit("of-small", model: "small"),
        ]
        let lease = try lease(under: limits)
        #expect(try costs(plan(settle(lease), under: limits)) == ["spend": 45_000, "of-big": 5_000])
        #expect(
            try costs(plan(settle(lease, model: "small"), under: limits)) == ["spend": 5_000, "of-small": 5_000])
    }

    @Test("is the owner's, whoever settles, renews or releases")
    func owner() throws {
        let limits = [try limit("tokens"), try limit("slots", .user, .concurrency)]
        let lease = try lease(under: limits)
        for operation in [
            CallRequest.Operation.settle(lease), .renew(lease, milliseconds: 1_000), .release(lease),
        ] {
            let plan = try plan(CallRequest(user: someUser(), operation: operation), under: limits)
            #expect(keys(plan) == ["x:\(user)"] && plan.call?.id == .lease(lease.mark))
        }
    }
}

extension Base64URL {
    fileprivate static func text(of bytes: [UInt8]) -> String {
        var text = [UInt8](repeating: 0, count: textLength(ofBytes: bytes.count))
        bytes.withUnsafeBytes { bytes in text.withUnsafeMutableBytes { write(bytes, to: $0) } }
        return String(decoding: text, as: UTF8.self)
    }

    fileprivate static func bytes(of text: some Sequence<UInt8>) -> [UInt8]? {
        let text = Array(text)
        var bytes = [UInt8](repeating: 0, count: text.count)
        let count = text.withUnsafeBytes { text in bytes.withUnsafeMutableBytes { read(text, to: $0) } }
        return count.map { Array(bytes[..<$0]) }
    }
}
