import NIOCore
import RateLimitCore
import RedisClient

/// What a heartbeat asks of a server.
struct HeartbeatQuestion {
    var keys: HeartbeatKeys
    /// Whether calls are decided under limits of the file, and not checks.
    var decidesCalls: Bool
    /// The call of `heartbeat.lua`: its keys and arguments.
    var call: (keys: [String], arguments: [String])
    /// Takes the reply of `heartbeat.lua`.
    var takeHeartbeat: (Reply) -> Void
}

/// What became of a heartbeat.
enum HeartbeatOutcome {
    /// Redis did all that decisions need.
    case decided
    /// Something that decisions need was refused.
    case refused(RedisRefusal, on: EnforcementState.Path)
    /// A node of a cluster that does not have the keys' slots any more.
    case elsewhere
    /// There was no answer: the link's state says so.
    case unanswered
}

/// A heartbeat on its way.
private final class HeartbeatRound {
    /// Whether something that is no window stands under one of its keys.
    var isBroken = false
    private var missing = 1
    private var outcome = HeartbeatOutcome.decided
    private let done: (_ outcome: HeartbeatOutcome, _ isBroken: Bool) -> Void

    init(_ done: @escaping (_ outcome: HeartbeatOutcome, _ isBroken: Bool) -> Void) { self.done = done }

    func begin() { missing += 1 }

    /// Takes what became of one of its commands. The first refusal counts, then whatever else is no decision.
    func end(_ result: HeartbeatOutcome) {
        switch (outcome, result) {
        case (.refused, _), (_, .decided): break
        case (_, .refused), (.decided, _): outcome = result
        case (.elsewhere, _), (.unanswered, _): break
        }
        missing -= 1
        if missing == 0 { done(outcome, isBroken) }
    }
}

// A heartbeat goes the way of a decision: the same scripts by the same EVALSHA, the same kinds of writes, on keys of its
// own. What a short window does not need is tried by `heartbeat.lua`.
extension ScriptLane {
    /// The quota of the heartbeat's windows, which a second of many daemons' heartbeats never meets.
    private static let heartbeatQuota = LimitTerm.amounts.upperBound
    /// The shortest window there may be.
    private static let heartbeatWindowMilliseconds = 1_000

    /// Sends a heartbeat, unless one is on its way; `done` is told once.
    func sendHeartbeat(_ question: HeartbeatQuestion, _ done: @escaping (HeartbeatOutcome) -> Void) {
        guard !isHeartbeatUnderWay else { return }
        isHeartbeatUnderWay = true
        let round = HeartbeatRound { [weak self] outcome, isBroken in
            self?.isHeartbeatUnderWay = false
            if isBroken { self?.clear(question.keys) }
            done(outcome)
        }
        let path = question.decidesCalls ? EnforcementState.Path.calls : .checks
        let call = question.call
        sendScript(heartbeatDigest, HeartbeatScript.text, call.keys, call.arguments, round, path) { reply in
            question.takeHeartbeat(reply)
            guard reply.elements.count == 5, let refusal = reply.text(of: reply.elements[4]) else {
                return .malformedReply
            }
            return refusal.isEmpty ? nil : RedisRefusal(refusal)
        }
        if question.decidesCalls {
            beatCalls(question.keys, round)
        } else {
            beatCheck(question.keys, round)
        }
        round.end(.decided)
        link.flush()
    }

    private func beatCheck(_ keys: HeartbeatKeys, _ round: HeartbeatRound) {
        send([DecisionCall(.check, subjects: [Self.subject(keys.check)])], round, .checks)
    }

    private func beatCalls(_ keys: HeartbeatKeys, _ round: HeartbeatRound) {
        for key in keys.windows {
            let subject = Self.subject(key)
            // A lease of its own each time: one that stands is not held again.
            let lease = DecisionID.lease(LeaseMark(id: .random(in: 0 ... .max)))
            let milliseconds = Self.heartbeatWindowMilliseconds
            let calls = [DecisionOperation.check, .reserve, .settle].map { operation in
                DecisionCall(
                    operation, id: operation == .check ? nil : lease, lifeMilliseconds: milliseconds,
                    rememberMilliseconds: milliseconds, subjects: [subject])
            }
            send(calls, round, .calls)
        }
        if let global = keys.global {
            send([DecisionCall(.check, subjects: [SubjectTerms(key: Array(global.utf8), terms: [])])], round, .calls)
        }
        for key in keys.budgets {
            send(round, .budgets, isScript: false) { _, buffer in
                buffer.writeRESPCommand(["HGETALL", key])
            } refusal: { reply in
                reply.texts == nil ? .malformedReply : nil
            }
        }
    }

    private static func subject(_ key: String) -> SubjectTerms {
        let term = LimitTerm(
            id: LimitDefinition.requestsID, kind: .sliding(windowMilliseconds: heartbeatWindowMilliseconds),
            quota: heartbeatQuota, cost: 1)
        return SubjectTerms(key: Array(key.utf8), terms: [term])
    }

    private func send(_ decisions: [DecisionCall], _ round: HeartbeatRound, _ path: EnforcementState.Path) {
        let digest = batcher.digest
        send(round, path, isScript: true) { withSource, buffer in
            var batch = DecisionBatch()
            for call in decisions { _ = batch.append(call) }
            batch.write(digest: digest, withSource: withSource, to: &buffer)
        } refusal: { reply in
            for (index, call) in decisions.enumerated() {
                guard let answer = DecisionAnswer(index, of: decisions.count, in: reply) else { return .malformedReply }
                if let error = answer.error { return RedisRefusal(error) }
                if call.decided(answer) == nil { return .malformedReply }
            }
            return nil
        }
    }

    private func sendScript(
        _ digest: String?, _ text: String, _ keys: [String], _ arguments: [String], _ round: HeartbeatRound,
        _ path: EnforcementState.Path, refusal: @escaping (Reply) -> RedisRefusal?
    ) {
        send(round, path, isScript: true) { withSource, buffer in
            let script = withSource ? nil : digest
            buffer.writeRESPCommand(
                [script == nil ? "EVAL" : "EVALSHA", script ?? text, "\(keys.count)"] + keys + arguments)
        } refusal: { reply in
            refusal(reply)
        }
    }

    /// Sends one command of a heartbeat, a script again with its whole text where EVALSHA did not run.
    private func send(
        _ round: HeartbeatRound, _ path: EnforcementState.Path, isScript: Bool, isAgain: Bool = false,
        write: @escaping (_ withSource: Bool, inout ByteBuffer) -> Void, refusal: @escaping (Reply) -> RedisRefusal?
    ) {
        let withSource = isAgain || evalsha.isResting(at: .now())
        round.begin()
        layOut({ write(withSource, &$0) }, .any) { [weak self] result in
            guard let self, case .success(let reply) = result else { return round.end(.unanswered) }
            if let error = reply.errorText, isScript, !withSource, EvalshaUse.saysNothingRan(error) {
                send(round, path, isScript: true, isAgain: true, write: write, refusal: refusal)
                link.flush()
                return round.end(.decided)
            }
            guard let refusal = reply.errorText.map({ RedisRefusal($0) }) ?? refusal(reply) else {
                return round.end(.decided)
            }
            if refusal.scope == .key { round.isBroken = true }
            round.end(outcome(of: refusal, on: path))
            if refusal == .malformedReply { link.leaveOutOfStep() }
        }
    }

    private func outcome(of refusal: RedisRefusal, on path: EnforcementState.Path) -> HeartbeatOutcome {
        // Whatever else stands under a heartbeat's own key is nobody's trouble.
        guard refusal.scope != .key else { return .decided }
        guard router != nil else {
            guard Self.isOfReplica(refusal.words) else { return .refused(refusal, on: path) }
            link.leaveReplica(saying: refusal.words)
            return .unanswered
        }
        if let address = link.endpoint?.address, let redirection = Redirection(refusal.words, from: address),
            redirection != .clusterDown
        {
            return .elsewhere
        }
        return .refused(refusal, on: path)
    }

    /// Removes what stands under a heartbeat's keys, one by one.
    private func clear(_ keys: HeartbeatKeys) {
        for key in keys.written { layOut({ $0.writeRESPCommand(["DEL", key]) }, .integer) { _ in } }
        link.flush()
    }
}
