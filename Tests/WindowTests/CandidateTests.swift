import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// Calls with candidates, decided by the real script beside the same ones asked about one after another.
@Suite("Candidates of a call")
struct CandidateTests {
    /// Several calls, each with one or more candidates.
    private typealias Batch = [[DecisionCall]]

    /// The one decision over all of a batch, as one command.
    private func chained(_ calls: DecidedCalls, _ batch: Batch, clock: Int) throws -> [[DecidedCalls.Decided]] {
        var followed: Set<Int> = []
        var place = 0
        for call in batch {
            followed.formUnion(place..<place + call.count - 1)
            place += call.count
        }
        var answers = try calls.decide(Array(batch.joined()), followed: followed, clockMicroseconds: clock)[...]
        return batch.map { call in
            defer { answers = answers.dropFirst(call.count) }
            return Array(answers.prefix(call.count))
        }
    }

    /// The reference: each candidate asked about by itself, until one is not denied.
    private func oneByOne(_ calls: DecidedCalls, _ batch: Batch, clock: Int) throws -> [[DecidedCalls.Decided]] {
        try batch.map { call in
            var answers: [DecidedCalls.Decided] = []
            var isOver = false
            for candidate in call {
                guard !isOver else {
                    answers.append(.passedOver)
                    continue
                }
                let answer = try calls.decide(candidate, clockMicroseconds: clock)
                answers.append(.decided(answer))
                isOver = !answer.verdict.isDenial
            }
            return answers
        }
    }

    /// A batch of one to three calls of up to five candidates, and of what tells of other calls.
    private func batch(_ generated: inout GeneratedCalls, _ random: inout SeededGenerator) -> Batch {
        (0..<Int.random(in: 1...3, using: &random)).map { _ in
            if Int.random(in: 0..<5, using: &random) == 0 { return [generated.telling()] }
            let operations: [DecisionOperation] = [.check, .check, .reserve, .reserve, .dryCheck, .dryReserve]
            let operation = operations.randomElement(using: &random) ?? .check
            let isOnce = (operation == .check || operation == .dryCheck) && Bool.random(using: &random)
            let digest = UsageDigest(ofCheck: [UInt8.random(in: 0..<12, using: &random)])
            return (1...Int.random(in: 1...5, using: &random)).map { number in
                generated.asking(operation, id: isOnce ? .candidate(digest, number: number) : nil)
            }
        }
    }

    private func play(_ servers: [RedisServer], script: String, seed: UInt64) throws {
        let chains = try DecidedCalls(servers[0].connect(), script: script)
        let single = try DecidedCalls(servers[1].connect())
        var generated = GeneratedCalls(seed: seed)
        var random = SeededGenerator(seed: ~seed)
        for step in 0..<30 {
            generated.advance()
            let batch = batch(&generated, &random)
            let answers = try chained(chains, batch, clock: generated.clock)
            let expected = try oneByOne(single, batch, clock: generated.clock)
            guard answers == expected else {
                throw Violation(step: step, what: "\(batch): \(answers) and not \(expected)")
            }
            guard try chains.content() == single.content() else {
                throw Violation(step: step, what: "\(batch) leaves other bytes than one after another")
            }
            for (call, answer) in zip(batch.joined(), answers.joined()) {
                if case .decided(let answer) = answer { generated.note(answer, to: call) }
            }
        }
    }

    @Test(
        "are decided at once as they would be one after another, and leave the same bytes",
        arguments: [DecidedCalls.script, DecidedCalls.slowScript])
    func reference(_ script: String) throws {
        let servers = try [RedisServer(), RedisServer()]
        defer { for server in servers { server.end() } }
        for seed in 0..<40 { try play(servers, script: script, seed: UInt64(seed)) }
    }

    static let plantedBugs = [
        // Charges one that was passed over.
        ("if is_over then operation, answer = 0, '' end", "if is_over then end"),
        // Goes on after an admission, or after an id that was admitted before.
        ("byte(answer) == DONE or byte(answer) > AT_CAPACITY", "byte(answer) > AT_CAPACITY"),
        ("byte(answer) == DONE or byte(answer) > AT_CAPACITY", "byte(answer) == DONE"),
        // Ends with a denial.
        ("byte(answer) == DONE or byte(answer) > AT_CAPACITY", "true"),
        // Passes over the next call as well.
        ("is_over = plan.follows and (is_over", "is_over = (is_over"),
        // Skips no operands, or no keys, of what was passed over.
        ("for amount = 1, plan[AMOUNTS] do", "for amount = 1, is_over and 0 or plan[AMOUNTS] do"),
        (
            "if plan[HAS_ID] then operand = operand + 22 end",
            "if plan[HAS_ID] and not is_over then operand = operand + 22 end"
        ),
        ("first = first + subjects\nend", "first = first + (answer == '' and 0 or subjects)\nend"),
        // Forgets for which one an id was admitted, or names the wrong one.
        ("if byte(operands, from + 12) > 0 or not since", "if not since"),
        ("(byte(digest, 12) + candidate) % 256", "byte(digest, 12)"),
        ("for candidate = 1, CANDIDATES do", "for candidate = 2, CANDIDATES do"),
    ]

    @Test("are not decided so with a bug in the script", arguments: plantedBugs.indices)
    func findsPlantedBugs(_ index: Int) throws {
        let (text, bug) = Self.plantedBugs[index]
        let script = DecidedCalls.script.replacing(text, with: bug)
        #expect(script != DecidedCalls.script, "no script without \(text)")
        let servers = try [RedisServer(), RedisServer()]
        defer { for server in servers { server.end() } }
        #expect(throws: (any Error).self) {
            for seed in 0..<60 { try play(servers, script: script, seed: UInt64(seed)) }
        }
    }

    private func check(_ user: String, quota: Int, id: DecisionID? = nil) -> DecisionCall {
        let term = LimitTerm(id: 1, kind: .sliding(windowMilliseconds: 60_000), quota: quota, cost: 1)
        return DecisionCall(.check, id: id, subjects: [SubjectTerms(key: Array(user.utf8), terms: [term])])
    }

    @Test("of a check with an id are charged once together, and the one that was admitted is named")
    func once() throws {
        let server = try RedisServer()
        defer { server.end() }
        for script in [DecidedCalls.script, DecidedCalls.slowScript] {
            let calls = try DecidedCalls(server.connect(), script: script)
            let start = GeneratedCalls.start
            func ask(_ name: String, quotas: Int..., at second: Int) throws -> [DecidedCalls.Decided] {
                let digest = UsageDigest(ofCheck: Array(name.utf8))
                let candidates = quotas.enumerated().map { place, quota in
                    check("{llm-rate:u}:\(place)", quota: quota, id: .candidate(digest, number: place + 1))
                }
                return try chained(calls, [candidates], clock: start + second * 1_000_000)[0]
            }
            // Ids are known under the first subject's key, which is one for all candidates of a user.
            func verdict(_ decided: DecidedCalls.Decided) -> CallAnswer? {
                if case .decided(let answer) = decided { answer } else { nil }
            }
            let first = try ask("a", quotas: 0, 1, at: 0)
            #expect(verdict(first[0])?.verdict == .deniedForGood(term: 0) && verdict(first[1])?.verdict == .done)
            // Now the first would be admitted.
            let again = try ask("a", quotas: 5, 1, at: 1)
            #expect(verdict(again[0])?.verdict == .repeated && verdict(again[0])?.admittedCandidate == 2)
            #expect(again[1] == .passedOver)
            #expect(verdict(try ask("b", quotas: 5, 1, at: 2)[0])?.verdict == .done)
            #expect(verdict(try ask("b", quotas: 5, 1, at: 2)[0])?.admittedCandidate == 1)
        }
    }
}
