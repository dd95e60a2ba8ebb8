import RateLimitCore
import RedisClient

/// What the script answered to one request: its bytes, and what they mean. Whatever else than the script's own words
/// stands in a reply is told from them; nothing here is reckoned with that could end the process.
struct DecisionAnswer {
    private static let headLength = 15
    private static let stateLength = 13
    private static let crossingLength = 8
    private static let timeLength = 6

    private let bytes: ArraySlice<UInt8>

    /// The answer to request `index` of a batch of `count`; nil when the reply is not of the script's form.
    init?(_ index: Int, of count: Int, in reply: Reply) {
        guard reply.elements.count == 1 + count, 0..<count ~= index, case .array(count) = reply.elements[0],
            case .bulk(let range) = reply.elements[1 + index], !range.isEmpty
        else { return nil }
        bytes = reply.bytes[range]
        guard isError || bytes.count >= Self.headLength else { return nil }
    }

    /// Whether request `index` of a batch of `count` was passed over: a candidate before it ended the call.
    static func isPassedOver(_ index: Int, of count: Int, in reply: Reply) -> Bool {
        guard reply.elements.count == 1 + count, 0..<count ~= index, case .array(count) = reply.elements[0],
            case .bulk(let range) = reply.elements[1 + index]
        else { return false }
        return range.isEmpty
    }

    /// Whether this request failed, alone.
    var isError: Bool { status == UInt8(ascii: "!") }

    /// The error with which this request failed, alone; nil where it did not.
    var error: String? {
        guard isError else { return nil }
        return String(decoding: bytes.dropFirst(), as: UTF8.self)
    }

    private var status: UInt8 { bytes[bytes.startIndex] }

    /// Six of its bytes from a place on, as a number.
    private func number(at place: Int) -> Int {
        bytes.withUnsafeBytes { bytes in
            let low = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self))
            let high = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: place + 4, as: UInt16.self))
            return Int(high) << 32 | Int(low)
        }
    }

    /// The term that decided, from 1 on; 0 for none.
    private var decider: Int {
        bytes.withUnsafeBytes { Int(UInt16(littleEndian: $0.loadUnaligned(fromByteOffset: 1, as: UInt16.self))) }
    }

    /// What it says of a whole request of so many terms, without states; nil where that contradicts itself: a denial has a
    /// term and a wait, a lease that was given its two instants, and nothing else has any.
    private func verdict(terms: Int, givesLease: Bool) -> CallAnswer? {
        let decider = decider - 1
        let retry = number(at: 3)
        let least = number(at: 9)
        let isDenial = 0..<terms ~= decider && retry > 0 && least <= retry
        let isPlain = decider < 0 && retry == 0 && least == 0
        switch status {
        case 0 where givesLease:
            guard decider < 0, retry > 0, least > 0 else { return nil }
            let instants = LeaseInstants(givenAtMilliseconds: retry, lapsesAtMilliseconds: least)
            return CallAnswer(verdict: .done, states: [], leaseInstants: instants)
        case 0 where isPlain: return CallAnswer(verdict: .done, states: [])
        case 1 where isDenial:
            let verdict = CallVerdict.denied(term: decider, retryAfterMilliseconds: retry)
            return CallAnswer(verdict: verdict, states: [], leastWaitMilliseconds: least)
        case 2 where 0..<terms ~= decider && retry == 0 && least == 0:
            return CallAnswer(verdict: .deniedForGood(term: decider), states: [])
        case 3 where isDenial:
            let verdict = CallVerdict.atCapacity(term: decider, retryAfterMilliseconds: retry)
            return CallAnswer(verdict: verdict, states: [], leastWaitMilliseconds: least)
        case 4 where isPlain: return CallAnswer(verdict: .unknownLease, states: [])
        case 5 where isPlain: return CallAnswer(verdict: .repeated, states: [])
        case 5 where retry == 0 && least == 0 && decider < CallCandidate.largestCount:
            var answer = CallAnswer(verdict: .repeated, states: [])
            answer.admittedCandidate = decider + 1
            return answer
        case 6 where isPlain: return CallAnswer(verdict: .tooLate, states: [])
        default: return nil
        }
    }

    /// All that it says of a request that did not fail; nil where that is not of the script's form.
    ///
    /// - Parameter terms: how many terms the request has.
    func decided(terms: Int, givesLease: Bool) -> CallAnswer? {
        let end = Self.headLength + Self.stateLength * terms
        guard !isError, bytes.count >= end, var answer = verdict(terms: terms, givesLease: givesLease) else {
            return nil
        }
        answer.states.reserveCapacity(terms)
        var crossed = 0
        for place in 0..<terms {
            guard let state = state(place) else { return nil }
            answer.states.append(state)
            if flags(place) & 64 != 0 { crossed += 1 }
        }
        if crossed == 0 { return bytes.count == end ? answer : nil }
        guard answer.verdict == .done, !givesLease, bytes.count == end + Self.crossingLength * crossed + Self.timeLength
        else {
            return nil
        }
        return readCrossings(of: terms, from: end, into: &answer) ? answer : nil
    }

    /// Reads what stands behind the states: for each term that has the flag which thresholds it crossed; then the time.
    private func readCrossings(of terms: Int, from end: Int, into answer: inout CallAnswer) -> Bool {
        var at = end
        for place in 0..<terms where flags(place) & 64 != 0 {
            let (first, last) = (Int(bytes[bytes.startIndex + at]), Int(bytes[bytes.startIndex + at + 1]))
            guard first > 0, first <= last else { return false }
            answer.crossings.append(
                TermCrossing(
                    term: place, thresholds: first - 1...last - 1, used: number(at: at + 2),
                    unixMilliseconds: number(at: bytes.count - Self.timeLength)))
            at += Self.crossingLength
        }
        return true
    }

    private func flags(_ place: Int) -> UInt8 {
        bytes[bytes.startIndex + Self.headLength + Self.stateLength * place + 12]
    }

    /// How a term stands; nil where a flag is unknown.
    private func state(_ place: Int) -> LimitState? {
        let at = Self.headLength + Self.stateLength * place
        let flags = flags(place)
        guard flags < 128 else { return nil }
        return LimitState(
            used: number(at: at), resetAfterMilliseconds: number(at: at + 6),
            isDenied: flags & 1 != 0, isShadowDenied: flags & 2 != 0, isForGood: flags & 4 != 0,
            isCharged: flags & 8 != 0, isHeld: flags & 16 != 0, hasDisplaced: flags & 32 != 0)
    }

    /// The decision on a check of one window under a quota; nil where the answer is not one. It allocates nothing.
    func check(quota: Int) -> DecidedCheck? {
        guard bytes.count == Self.headLength + Self.stateLength else { return nil }
        let decider = decider
        let retry = number(at: 3)
        let least = number(at: 9)
        guard least <= retry else { return nil }
        let verdict: Decision.Verdict
        switch status {
        case 0 where decider == 0 && retry == 0: verdict = .allowed
        case 1 where decider == 1 && retry > 0: verdict = .denied(retryAfterMilliseconds: retry)
        case 2 where decider == 1 && retry == 0: verdict = .deniedForGood
        default: return nil
        }
        let decision = Decision(
            verdict: verdict, quota: quota, used: number(at: Self.headLength),
            resetAfterMilliseconds: number(at: Self.headLength + 6))
        return DecidedCheck(decision: decision, certainMilliseconds: least)
    }
}

extension CallAnswer {
    /// Whether it crosses no more than there is: terms have so many thresholds.
    func crosses(onlyOf counts: [Int]) -> Bool {
        crossings.allSatisfy { counts.indices ~= $0.term && $0.thresholds.upperBound < counts[$0.term] }
    }
}

/// What Redis decided about a check.
struct DecidedCheck: Hashable {
    var decision: Decision
    /// How long a denial is certain to last, in milliseconds: what leases hold may come back at any time.
    var certainMilliseconds: Int
}
