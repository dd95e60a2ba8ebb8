import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// Dry checks and reserves beside the checks and reserves that they foretell.
@Suite("Dry runs of decisions")
struct DryRunTests {
    private static func isSame(_ dry: CallAnswer, _ real: CallAnswer) -> Bool {
        // What was done says so by its charges and its lease; a denial changes nothing.
        guard dry.verdict == .done, real.verdict == .done else { return dry == real }
        return zip(dry.states, real.states).allSatisfy { $0.isShadowDenied == $1.isShadowDenied && !$0.isDenied }
    }

    private func play(_ calls: DecidedCalls, seed: UInt64) throws {
        var generated = GeneratedCalls(seed: seed)
        for step in 0..<60 {
            generated.advance()
            if step % 4 == 1 {
                _ = try calls.decide(generated.telling(), clockMicroseconds: generated.clock)
                continue
            }
            let reserves = step % 3 == 0
            let id = !reserves && step % 2 == 0 ? DecisionID.check(UsageDigest(ofCheck: [UInt8(step % 8)])) : nil
            let real = generated.asking(reserves ? .reserve : .check, id: id)
            let dry = DecisionCall(
                reserves ? .dryReserve : .dryCheck, id: id, lifeMilliseconds: real.lifeMilliseconds,
                rememberMilliseconds: real.rememberMilliseconds, subjects: real.subjects)
            // What lapsed leases held is given back by whatever comes first, a look or a dry run.
            _ = try calls.decide(real.asLook, clockMicroseconds: generated.clock)
            let before = try calls.content()
            let foretold = try calls.decide(dry, clockMicroseconds: generated.clock)
            guard try calls.content() == before else {
                throw Violation(step: step, what: "\(dry) changed what Redis keeps")
            }
            let answer = try calls.decide(real, clockMicroseconds: generated.clock)
            generated.note(answer, to: real)
            guard Self.isSame(foretold, answer) else {
                throw Violation(step: step, what: "foretold \(foretold), and came to \(answer)")
            }
        }
    }

    @Test("say what the check or reserve right behind them comes to, and leave every byte as it was")
    func foretell() throws {
        let server = try RedisServer()
        defer { server.end() }
        for seed in 0..<40 { try play(DecidedCalls(server.connect()), seed: UInt64(seed)) }
    }

    static let plantedBugs = [
        // Charges all the same, or notes the id.
        (
            "local operation, is_dry = request.operation, request.operation > REFUND",
            "local operation, is_dry = (request.operation - 1) % 8 + 1, false"
        ),
        (
            "if request.digest and notes(subjects[1], request.digest, request.remember, true) then status",
            "if request.digest and notes(subjects[1], request.digest, request.remember) then status"
        ),
        // Keeps what a changed window counts for longer.
        ("see(request, not is_dry and operation", "see(request, operation"),
        // Takes no slot of a reserve into account.
        (
            "if kind == CONCURRENCY and asks == CHECK then cost = 0 end",
            "if kind == CONCURRENCY and request.operation ~= RESERVE then cost, need = 0, 0 end"
        ),
    ]

    @Test("are not what they were with a bug in the script", arguments: plantedBugs.indices)
    func findsPlantedBugs(_ index: Int) throws {
        let (text, bug) = Self.plantedBugs[index]
        let script = DecidedCalls.script.replacing(text, with: bug)
        #expect(script != DecidedCalls.script, "no script without \(text)")
        let server = try RedisServer()
        defer { server.end() }
        #expect(throws: (any Error).self) {
            for seed in 0..<40 { try play(DecidedCalls(server.connect(), script: script), seed: UInt64(seed)) }
        }
    }
}

extension DecisionCall {
    /// A check under the same limits that costs nothing.
    fileprivate var asLook: DecisionCall {
        let subjects = subjects.map { subject in
            SubjectTerms(
                key: subject.key,
                terms: subject.terms.map { term in
                    LimitTerm(id: term.id, kind: term.kind, isShadow: term.isShadow, quota: term.quota, cost: 0)
                })
        }
        return DecisionCall(.check, rememberMilliseconds: rememberMilliseconds, subjects: subjects)
    }
}
