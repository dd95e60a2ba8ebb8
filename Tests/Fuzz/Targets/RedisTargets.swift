import NIOCore
import RateLimitCore
import RedisClient

@testable import HTTPServer
@testable import LoadGenerator
@testable import RateLimitService

/// The same replies and the same fault, in whatever parts the bytes arrive.
func fuzzReplies(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (seed, stream) = bytes.headAndRest
    let whole = read([stream])
    let inParts = read(cuts(stream, seed: seed))
    try hold(whole.fault == inParts.fault, "whole \(describe(whole.fault)), in parts \(describe(inParts.fault))")
    try hold(whole.replies.count == inParts.replies.count, "not as many replies whole as in parts")
    for (reply, other) in zip(whole.replies, inParts.replies) {
        try hold(reply.elements == other.elements && reply.bytes == other.bytes, "\(reply) whole, \(other) in parts")
        try holdWhole(reply)
    }
}

private func describe(_ fault: ReplyFault?) -> String { fault.map { "\($0)" } ?? "no fault" }

private func read(_ parts: [UnsafeRawBufferPointer]) -> (replies: [Reply], fault: ReplyFault?) {
    let reader = ReplyReader()
    var replies: [Reply] = []
    do throws(ReplyFault) {
        for part in parts {
            try reader.feed(part)
            while let reply = try reader.next() { replies.append(reply) }
        }
        return (replies, nil)
    } catch {
        return (replies, error)
    }
}

/// A reply has as many elements as its arrays announce, and the bytes of all its texts.
private func holdWhole(_ reply: Reply) throws(FuzzFinding) {
    var missing = 1
    for element in reply.elements {
        missing -= 1
        switch element {
        case .bulk(let range), .status(let range), .error(let range):
            try hold(range.upperBound <= reply.bytes.count, "a text beyond the reply's bytes in \(reply)")
        case .array(let count): missing += count
        case .integer, .null: break
        }
    }
    try hold(missing == 0, "\(missing) elements are missing in \(reply)")
}

/// Whatever Redis answers to a batch, each check has a decision that can be answered, an error, or none.
func fuzzScriptReply(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (head, stream) = bytes.headAndRest
    let count = Int(head & 15) + 1
    let limit = Limit(name: "requests", quota: head & 16 == 0 ? 20 : Limit.quotas.upperBound, windowMilliseconds: 1000)
    let writer = AnswerWriter(limitName: limit.name)
    for reply in read([stream]).replies {
        for index in 0..<count {
            guard let decided = DecisionAnswer(index, of: count, in: reply)?.check(quota: limit.quota) else { continue }
            let decision = decided.decision
            let isAllowed = decision.isAllowed || head & 32 != 0
            let outcome = Outcome(isAllowed: isAllowed, decision: decision, source: .redis, under: limit.numbers)
            var buffer = ByteBuffer()
            writer.write(outcome, AnswerForm(closes: head & 64 != 0), to: &buffer)
            try holdAnswer(Array(buffer.readableBytesView), isAllowed: isAllowed)
        }
        for index in 0..<count {
            guard let decided = DecisionAnswer(index, of: count, in: reply).flatMap({ telling.decided($0) }) else {
                continue
            }
            try hold(decided.states.count == 2, "\(decided)")
            for crossing in decided.crossings {
                let thresholds = telling.subjects[0].terms[crossing.term].thresholds
                try hold(crossing.thresholds.upperBound < thresholds.count, "\(crossing)")
            }
        }
    }
}

/// A call whose limits tell thresholds, laid out in another order than the script's.
private let telling = DecisionCall(
    .usage,
    subjects: [
        SubjectTerms(
            key: [1],
            terms: [
                LimitTerm(id: 9, kind: .concurrency, quota: 1, cost: 1, thresholds: [1]),
                LimitTerm(id: 3, kind: .concurrency, quota: 1, cost: 1, thresholds: [1, 2, 3]),
            ])
    ])

private func holdAnswer(_ answer: [UInt8], isAllowed: Bool) throws(FuzzFinding) {
    let scanned = answer.withUnsafeBufferPointer { scanHTTPAnswer($0).scanned }
    guard case .answer(answer.count, isAllowed ? .allowed : .denied) = scanned else {
        throw FuzzFinding(description: "\(scanned) in \(String(decoding: answer, as: UTF8.self))")
    }
}

/// What the load generator finds in an answer lies within it, and is not found in a beginning of it.
func fuzzLoadAnswers(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (head, rest) = bytes.headAndRest
    let formats: [AnswerFormat] = [.http, .redisCheck, .redisAny]
    let format = formats[Int(head) % formats.count]
    let scanned = try withExactCopy(rest) { format.scan($0.assumingMemoryBound(to: UInt8.self)) }
    guard case .answer(let length, _) = scanned else { return }
    try hold(length > 0 && length <= rest.count, "an answer of \(length) bytes in \(rest.count)")
    let alone = try withExactCopy(UnsafeRawBufferPointer(rebasing: rest[..<length])) {
        format.scan($0.assumingMemoryBound(to: UInt8.self))
    }
    try hold(alone == scanned, "\(scanned) with something behind it, \(alone) alone")
    for count in stride(from: 1, to: length, by: max(1, length / 64)) {
        let begun = try withExactCopy(UnsafeRawBufferPointer(rebasing: rest[..<count])) {
            format.scan($0.assumingMemoryBound(to: UInt8.self))
        }
        try hold(begun == .incomplete, "\(begun) after \(count) of \(length) bytes")
    }
}
