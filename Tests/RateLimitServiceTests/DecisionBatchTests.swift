import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

func littleEndian(_ value: Int, _ bytes: Int) -> [UInt8] {
    (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

@Suite("A batch of calls for Redis")
struct DecideScriptTests {
    private static let digest = "0123456789abcdef0123456789abcdef01234567"
    private static let unknown = 1 << 48 - 1

    /// The term as the script has it, with its cost named by the place among the amounts, or in itself.
    private func argument(_ term: LimitTerm, place: Int?, cost: Int) -> [UInt8] {
        let numbers: [Int] =
            switch term.kind {
            case .sliding(let milliseconds): [0, milliseconds, 0, 0, 0]
            case .calendar(let at): [1, at.previousStart, at.start, at.nextStart, at.afterNextStart]
            case .concurrency: [2, 0, 0, 0, 0]
            case .lifetime(let milliseconds): [3, milliseconds, 0, 0, 0]
            }
        let start = littleEndian(Int(term.id), 4) + [UInt8(numbers[0]), term.isShadow ? 1 : 0]
        return start + numbers.dropFirst().flatMap { littleEndian($0, 5) } + littleEndian(term.quota, 6)
            + [UInt8(place ?? 0)] + littleEndian(place == nil ? cost : 0, 6)
    }

    private func cost(_ term: LimitTerm, _ operation: DecisionOperation) -> Int {
        let isCheck = operation == .check || operation == .dryCheck
        let cost = isCheck && term.kind == .concurrency ? 0 : term.cost
        let asks = isCheck || operation == .reserve || operation == .dryReserve
        return cost == 0 && term.needsRoom && asks ? Self.unknown : cost
    }

    /// A call's plan and its operands.
    private func arguments(_ call: DecisionCall) -> (plan: [UInt8], operands: [UInt8]) {
        var amounts: [Int] = []
        var terms: [UInt8] = []
        for subject in call.subjects {
            terms.append(UInt8(subject.terms.count))
            terms += littleEndian(subject.mostValues, 3)
            // Places are given in the call's order, and the terms stand in the script's.
            let laidOut = subject.terms.map { term -> (UInt32, [UInt8]) in
                let cost = cost(term, call.operation)
                if !amounts.contains(cost), amounts.count < 255 { amounts.append(cost) }
                return (term.id, argument(term, place: amounts.firstIndex(of: cost).map { $0 + 1 }, cost: cost))
            }
            terms += laidOut.sorted { $0.0 < $1.0 }.flatMap(\.1)
        }
        var operands: [UInt8] = []
        switch call.id {
        case .lease(let lease):
            operands += (0..<8).reversed().map { UInt8(truncatingIfNeeded: lease.id >> (8 * UInt64($0))) }
            operands += littleEndian(lease.instants.givenAtMilliseconds, 6)
            operands += littleEndian(lease.instants.lapsesAtMilliseconds, 6)
            operands += littleEndian(lease.instants.spreadMilliseconds, 2)
        case .usage(let digest), .check(let digest), .refund(let digest):
            operands += digest.bytes + [UInt8](repeating: 0, count: 10)
        case .candidate(let digest, let number):
            operands += digest.bytes + [UInt8(number)] + [UInt8](repeating: 0, count: 9)
        case nil: break
        }
        let head = [
            call.operation.rawValue, UInt8(call.subjects.count), call.id == nil ? 0 : 1, UInt8(amounts.count),
        ]
        let plan = head + littleEndian(call.lifeMilliseconds, 4) + littleEndian(call.rememberMilliseconds, 4) + terms
        return (plan, operands + amounts.flatMap { littleEndian($0, 6) })
    }

    /// The command that a batch must come to, as hiredis encodes it.
    private func expected(_ start: [String], _ calls: [DecisionCall]) -> [UInt8] {
        var plans: [[UInt8]] = []
        var indexes: [UInt8] = []
        var operands: [UInt8] = []
        for call in calls {
            let (plan, own) = arguments(call)
            if !plans.contains(plan) { plans.append(plan) }
            indexes.append(UInt8(plans.firstIndex(of: plan) ?? 0))
            operands += own
        }
        let keys = calls.flatMap { $0.subjects.map(\.key) }
        let words = start + ["\(keys.count)"]
        return encodedByHiredis(words.map { Array($0.utf8) } + keys + [indexes, operands] + plans)
    }

    private func term(_ random: inout SeededGenerator, id: UInt32) -> LimitTerm {
        let first = Int.random(in: 0..<1 << 39, using: &random)
        let kind: LimitKind =
            switch Int.random(in: 0..<3, using: &random) {
            case 0: .sliding(windowMilliseconds: Int.random(in: 1000...31_536_000_000, using: &random))
            case 1:
                .calendar(
                    CalendarBoundaries(
                        previousStart: first, start: first + 1, nextStart: first + 9, afterNextStart: 1 << 39))
            default: .concurrency
            }
        return LimitTerm(
            id: id, kind: kind, isShadow: .random(using: &random),
            quota: .random(in: LimitTerm.amounts, using: &random),
            cost: .random(in: LimitTerm.amounts, using: &random), needsRoom: .random(using: &random))
    }

    /// A call under some of 12 limits, of which each may have two definitions.
    private func call(_ random: inout SeededGenerator) -> DecisionCall {
        let subjects = (0..<Int.random(in: 1...4, using: &random)).map { _ in
            let ids = Set(
                (0..<Int.random(in: 0...5, using: &random)).map { _ in UInt32.random(in: 1...12, using: &random) })
            let terms = ids.shuffled(using: &random).map { id in
                var seeded = SeededGenerator(seed: UInt64(id) + (Bool.random(using: &random) ? 100 : 0))
                return term(&seeded, id: id &* 400_000_000)
            }
            let key = (0..<Int.random(in: 0...300, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
            let most = Bool.random(using: &random) ? Int.random(in: DecisionPlan.valueBounds, using: &random) : 0
            return SubjectTerms(key: key, terms: terms, mostValues: most)
        }
        let operation = DecisionOperation(rawValue: .random(in: 1...10, using: &random)) ?? .check
        let instants = LeaseInstants(
            givenAtMilliseconds: .random(in: LeaseInstants.bounds, using: &random),
            lapsesAtMilliseconds: .random(in: LeaseInstants.bounds, using: &random),
            spreadMilliseconds: .random(in: 0...LeaseInstants.unknownSpread, using: &random))
        let id: DecisionID? =
            switch operation {
            case .reset, .dryReserve: nil
            case .check, .dryCheck:
                Bool.random(using: &random) ? nil : .check(UsageDigest(ofCheck: [UInt8(subjects.count)]))
            case .usage: Bool.random(using: &random) ? nil : .usage(UsageDigest(of: [UInt8(subjects.count)]))
            case .refund: Bool.random(using: &random) ? nil : .refund(UsageDigest(ofRefund: [UInt8(subjects.count)]))
            case .reserve, .renew, .settle, .release: .lease(LeaseMark(id: random.next(), instants: instants))
            }
        return DecisionCall(
            operation, id: id, lifeMilliseconds: .random(in: DecisionCall.lives, using: &random),
            rememberMilliseconds: .random(in: DecisionCall.memories, using: &random), subjects: subjects)
    }

    @Test(
        "is the command that hiredis encodes, whole or by digest, and begins anew", arguments: [1, 2, 3, 16, 64, 250])
    func encoding(_ count: Int) {
        var random = SeededGenerator(seed: UInt64(count))
        var batch = DecisionBatch()
        for (digest, withSource) in [(Self.digest, false), (Self.digest, true), (nil, false)] as [(String?, Bool)] {
            let calls = (0..<count).map { _ in call(&random) }
            for call in calls {
                let isTaken = batch.append(call)
                #expect(isTaken)
            }
            #expect(batch.count == count)
            var buffer = ByteBuffer()
            batch.write(digest: digest, withSource: withSource, to: &buffer)
            let start = digest != nil && !withSource ? ["EVALSHA", Self.digest] : ["EVAL", DecisionScript.text]
            #expect(Array(buffer.readableBytesView) == expected(start, calls))
            #expect(batch.count == 0)
        }
    }

    @Test("sends what calls of one kind ask once, however their users, leases and costs differ")
    func onePlan() {
        func call(_ number: Int) -> DecisionCall {
            let terms = [
                LimitTerm(id: 9, kind: .sliding(windowMilliseconds: 1_000), quota: 100, cost: 1),
                LimitTerm(id: 3, kind: .sliding(windowMilliseconds: 60_000), quota: 100_000, cost: 500 + number),
            ]
            let id = LeaseMark(id: UInt64(number))
            return DecisionCall(.reserve, id: .lease(id), subjects: [SubjectTerms(key: [UInt8(number)], terms: terms)])
        }
        let calls = (0..<20).map(call)
        #expect(Set(calls.map { $0.planned().plan.argument }).count == 1)
        var batch = DecisionBatch()
        for call in calls {
            let isTaken = batch.append(call)
            #expect(isTaken)
        }
        var buffer = ByteBuffer()
        batch.write(digest: Self.digest, withSource: false, to: &buffer)
        #expect(Array(buffer.readableBytesView) == expected(["EVALSHA", Self.digest], calls))
    }

    @Test("has room for 256 plans; a call that asks something else goes into the next one")
    func room() {
        func call(_ quota: Int) -> DecisionCall {
            let term = LimitTerm(id: 1, kind: .concurrency, quota: quota, cost: 1)
            return DecisionCall(.check, subjects: [SubjectTerms(key: [1], terms: [term])])
        }
        var batch = DecisionBatch()
        let calls = (1...256).map(call)
        for call in calls + [call(257), call(7)] {
            let isTaken = batch.append(call)
            #expect(isTaken == (call.subjects[0].terms[0].quota <= 256))
        }
        #expect(batch.count == 257)
        var buffer = ByteBuffer()
        batch.write(digest: Self.digest, withSource: false, to: &buffer)
        #expect(Array(buffer.readableBytesView) == expected(["EVALSHA", Self.digest], calls + [call(7)]))
        buffer.clear()
        let isTaken = batch.append(call(257))
        batch.write(digest: Self.digest, withSource: false, to: &buffer)
        #expect(isTaken && Array(buffer.readableBytesView) == expected(["EVALSHA", Self.digest], [call(257)]))
    }

    @Test("carries the script's files line for line, but nothing of a line that is a comment")
    func comments() {
        func lines(_ text: String) -> [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
        let source = String(decoding: DecisionScript.files, as: UTF8.self)
        #expect(lines(source).count == lines(DecisionScript.text).count && !source.contains("[["))
        for (line, sent) in zip(lines(source), lines(DecisionScript.text)) {
            #expect(sent == (line.drop { $0 == " " }.hasPrefix("--") ? "" : line))
        }
        let lua = "  -- why\nlocal a = 1 -- stays\n\n--\nreturn '--'\n"
        #expect(
            DecisionScript.withoutComments(Array(lua.utf8)) == Array("\nlocal a = 1 -- stays\n\n\nreturn '--'\n".utf8))
    }

    @Test("names 255 amounts, and carries what more terms cost in the plan")
    func manyAmounts() {
        let subjects = (0..<2).map { subject in
            SubjectTerms(
                key: [UInt8(subject)],
                terms: (0..<200).map {
                    LimitTerm(
                        id: UInt32($0), kind: .sliding(windowMilliseconds: 1_000), quota: 1,
                        cost: 1_000 * subject + $0)
                })
        }
        let call = DecisionCall(.usage, subjects: subjects)
        var batch = DecisionBatch()
        var buffer = ByteBuffer()
        let isTaken = batch.append(call)
        batch.write(digest: Self.digest, withSource: false, to: &buffer)
        #expect(isTaken && Array(buffer.readableBytesView) == expected(["EVALSHA", Self.digest], [call]))
    }
}

@Suite("The answer to a batch of calls")
struct DecideAnswerTests {
    private static let call = DecisionCall(
        .check,
        subjects: [
            SubjectTerms(key: [1], terms: [LimitTerm(id: 1, kind: .concurrency, quota: 1, cost: 1)]),
            SubjectTerms(key: [2], terms: [LimitTerm(id: 2, kind: .concurrency, quota: 1, cost: 1)]),
        ])
    private static let reset = DecisionCall(.reset, subjects: call.subjects)

    /// What an answer says.
    private enum Decided: Equatable {
        case decided(CallAnswer)
        /// The call failed, alone; the error's text.
        case failed(String)
    }

    private func head(_ status: UInt8, _ term: UInt8, _ retry: Int, least: Int = 0) -> [UInt8] {
        [status] + littleEndian(Int(term), 2) + littleEndian(retry, 6) + littleEndian(least, 6)
    }

    private func state(_ used: Int, _ reset: Int, _ flags: UInt8) -> [UInt8] {
        littleEndian(used, 6) + littleEndian(reset, 6) + [flags]
    }

    private func answer(_ bytes: [UInt8], to call: DecisionCall = Self.call) throws -> Decided? {
        let reader = ReplyReader()
        let whole = Array("*1\r\n$\(bytes.count)\r\n".utf8) + bytes + Array("\r\n".utf8)
        try whole.withUnsafeBytes { try reader.feed($0) }
        guard let answer = DecisionAnswer(0, of: 1, in: try #require(try reader.next())) else { return nil }
        if let error = answer.error { return .failed(error) }
        return call.decided(answer).map { .decided($0) }
    }

    /// The bytes that an answer is read from.
    private func bytes(_ answer: CallAnswer) -> [UInt8] {
        let start: [UInt8] =
            switch answer.verdict {
            case .done: head(0, 0, 0)
            case .denied(let term, let retry): head(1, UInt8(term + 1), retry, least: answer.leastWaitMilliseconds)
            case .deniedForGood(let term): head(2, UInt8(term + 1), 0)
            case .atCapacity(let term, let retry):
                head(3, UInt8(term + 1), retry, least: answer.leastWaitMilliseconds)
            case .unknownLease: head(4, 0, 0)
            case .repeated: head(5, UInt8(answer.admittedCandidate ?? 0), 0)
            case .tooLate: head(6, 0, 0)
            }
        return start
            + answer.states.flatMap {
                state(
                    $0.used, $0.resetAfterMilliseconds,
                    ($0.isDenied ? 1 : 0) + ($0.isShadowDenied ? 2 : 0) + ($0.isForGood ? 4 : 0)
                        + ($0.isCharged ? 8 : 0) + ($0.isHeld ? 16 : 0)
                        + ($0.hasDisplaced ? 32 : 0))
            }
    }

    /// A call whose terms have three thresholds and one.
    private static let telling = DecisionCall(
        .usage,
        subjects: [
            SubjectTerms(
                key: [1],
                terms: [
                    LimitTerm(id: 9, kind: .concurrency, quota: 1, cost: 1, thresholds: [1]),
                    LimitTerm(id: 3, kind: .concurrency, quota: 1, cost: 1, thresholds: [1, 2, 3]),
                ])
        ])

    private func crossing(_ first: UInt8, _ last: UInt8, _ used: Int) -> [UInt8] {
        [first, last] + littleEndian(used, 6)
    }

    @Test("names the thresholds that the call crossed, of each term in the call's order, and when that was")
    func crossings() throws {
        // In the script's order: 3, 9.
        let states = state(8, 0, 72) + state(7, 0, 64)
        let now = littleEndian(1 << 48 - 1, 6)
        let whole = head(0, 0, 0) + states + crossing(2, 3, 5) + crossing(1, 1, 6) + now
        guard case .decided(let decided)? = try answer(whole, to: Self.telling) else { throw TestFailure("none") }
        #expect(
            decided.crossings == [
                TermCrossing(term: 1, thresholds: 1...2, used: 5, unixMilliseconds: 1 << 48 - 1),
                TermCrossing(term: 0, thresholds: 0...0, used: 6, unixMilliseconds: 1 << 48 - 1),
            ])
        #expect(decided.states.map(\.used) == [7, 8] && decided.states.map(\.isCharged) == [false, true])
        for length in 0..<whole.count { #expect(try answer(Array(whole.prefix(length)), to: Self.telling) == nil) }
        #expect(try answer(whole + [0], to: Self.telling) == nil)
        // Places that there are not, or in another order; and none where nothing was charged.
        for (first, last) in [(0, 1), (3, 2), (1, 4), (0, 0)] as [(UInt8, UInt8)] {
            let wrong = head(0, 0, 0) + states + crossing(first, last, 5) + crossing(1, 1, 6) + now
            #expect(try answer(wrong, to: Self.telling) == nil)
        }
        let repeated = head(5, 0, 0) + states + crossing(2, 3, 5) + crossing(1, 1, 6) + now
        #expect(try answer(repeated, to: Self.telling) == nil)
        let lease = DecisionCall(.reserve, id: .lease(LeaseMark(id: 1)), subjects: Self.telling.subjects)
        #expect(
            try answer(head(0, 0, 7, least: 8) + states + crossing(2, 3, 5) + crossing(1, 1, 6) + now, to: lease) == nil
        )
        let noted = head(0, 0, 0) + state(8, 0, 64) + state(7, 0, 0) + crossing(1, 1, 5) + now
        #expect(try answer(noted, to: Self.telling) != nil)
        #expect(try answer(noted) == nil)
    }

    private var good: [[UInt8]] {
        let states = state(1 << 48 - 1, 5, 49) + state(3, 31_536_000_000, 14)
        return [
            head(0, 0, 0) + states, head(1, 2, 725_000, least: 724_999) + states, head(2, 1, 0) + states,
            head(3, 1, 1 << 48 - 1) + states,
            head(4, 0, 0) + states, head(5, 0, 0) + states, head(6, 0, 0) + states,
        ]
    }

    @Test("is read for each kind")
    func kinds() throws {
        let states = [
            LimitState(used: 1 << 48 - 1, resetAfterMilliseconds: 5, isDenied: true, isHeld: true, hasDisplaced: true),
            LimitState(
                used: 3, resetAfterMilliseconds: 31_536_000_000, isShadowDenied: true, isForGood: true,
                isCharged: true),
        ]
        let verdicts: [CallVerdict] = [
            .done, .denied(term: 1, retryAfterMilliseconds: 725_000), .deniedForGood(term: 0),
            .atCapacity(term: 0, retryAfterMilliseconds: 1 << 48 - 1), .unknownLease, .repeated, .tooLate,
        ]
        for ((bytes, verdict), least) in zip(zip(good, verdicts), [0, 724_999, 0, 0, 0, 0, 0]) {
            let expected = CallAnswer(verdict: verdict, states: states, leastWaitMilliseconds: least)
            #expect(try answer(bytes) == .decided(expected))
        }
        #expect(
            try answer(head(0, 0, 0), to: Self.reset) == .decided(CallAnswer(verdict: .done, states: [])))
        #expect(try answer(Array("!ERR no".utf8)) == .failed("ERR no"))
        #expect(try answer([0x21, 0xff]) == .failed("\u{fffd}"))
    }

    @Test("says when a lease was given and lapses, and only of a lease that was")
    func instants() throws {
        let id = DecisionID.lease(LeaseMark(id: 1))
        for operation in [DecisionOperation.reserve, .renew] {
            let call = DecisionCall(operation, id: id, subjects: [SubjectTerms(key: [1], terms: [])])
            let instants = LeaseInstants(givenAtMilliseconds: 7, lapsesAtMilliseconds: 1 << 48 - 1)
            #expect(
                try answer(head(0, 0, 7, least: 1 << 48 - 1), to: call)
                    == .decided(CallAnswer(verdict: .done, states: [], leaseInstants: instants)))
            #expect(try answer(head(0, 0, 0), to: call) == nil)
            #expect(try answer(head(0, 0, 7), to: call) == nil)
            #expect(try answer(head(4, 0, 0), to: call) == .decided(CallAnswer(verdict: .unknownLease, states: [])))
        }
    }

    @Test("has its terms in the call's order, whatever the script's is")
    func order() throws {
        let terms = [9, 3, 7].map { LimitTerm(id: $0, kind: .concurrency, quota: 1, cost: 1) }
        let call = DecisionCall(
            .check, subjects: [SubjectTerms(key: [1], terms: terms), SubjectTerms(key: [2], terms: terms)])
        // In the script's order: 3, 7, 9.
        let states = (1...6).flatMap { state($0, 0, 0) }
        for (decider, term) in [(1, 1), (2, 2), (3, 0), (4, 4), (5, 5), (6, 3)] as [(UInt8, Int)] {
            guard case .decided(let answer)? = try answer(head(1, decider, 5) + states, to: call) else {
                Issue.record("none")
                continue
            }
            #expect(answer.verdict == .denied(term: term, retryAfterMilliseconds: 5))
            #expect(answer.states.map(\.used) == [3, 1, 2, 6, 4, 5])
        }
    }

    @Test("is none where it is longer or shorter, and with any bit flipped is none or just what it says")
    func damaged() throws {
        for whole in good {
            for length in 0..<whole.count { #expect(try answer(Array(whole.prefix(length))) == nil) }
            #expect(try answer(whole + [0]) == nil)
            #expect(try answer(whole, to: Self.reset) == nil)
            for bit in 0..<8 * whole.count {
                var flipped = whole
                flipped[bit / 8] ^= 1 << (bit % 8)
                switch try answer(flipped) {
                case .decided(let read): #expect(bytes(read) == flipped)
                case .failed: #expect(flipped[0] == UInt8(ascii: "!"))
                case nil: break
                }
            }
        }
    }

    @Test("is none where a verdict contradicts itself, or a flag is unknown")
    func contradictory() throws {
        let states = state(1, 1, 0) + state(1, 1, 0)
        for start in [
            head(0, 1, 0), head(0, 0, 1), head(1, 0, 1), head(1, 1, 0), head(1, 3, 1), head(2, 0, 0), head(2, 1, 1),
            head(2, 3, 0), head(3, 1, 0), head(3, 0, 1), head(4, 1, 0), head(5, 0, 1), head(6, 0, 1), head(7, 0, 0),
            head(255, 0, 0),
            head(0, 0, 0, least: 1), head(1, 1, 5, least: 6), head(2, 1, 0, least: 1), head(4, 0, 0, least: 1),
        ] {
            #expect(try answer(start + states) == nil)
        }
        #expect(try answer(head(0, 0, 0) + state(1, 1, 0) + state(1, 1, 128)) == nil)
    }

    @Test(
        "is none where the reply has not the script's form",
        arguments: [
            "+OK\r\n", ":0\r\n", "$-1\r\n", "*0\r\n", "*-1\r\n", "-ERR x\r\n", "$8\r\n12345678\r\n", "*1\r\n:0\r\n",
            "*1\r\n$-1\r\n", "*1\r\n$0\r\n\r\n", "*1\r\n-ERR x\r\n", "*1\r\n+OK\r\n", "*1\r\n*0\r\n",
            "*1\r\n*1\r\n$1\r\n!\r\n", "*2\r\n$1\r\n!\r\n$1\r\n!\r\n",
        ])
    func wrongForm(_ text: String) throws {
        let reply = try reply(text)
        for index in -1...1 {
            #expect(DecisionAnswer(index, of: 1, in: reply).flatMap { Self.reset.decided($0) } == nil)
        }
    }
}
