import RateLimitCore
import RedisClient

/// What the script answered to one request: its bytes, and what they mean. Whatever else than the script's own words
/// stands in a reply is told from them; nothing here is reckoned with that could end the process.
struct DecisionAnswer {
    private static let headLength = 15
    private static let stateLength = 13

    private let bytes: ArraySlice<UInt8>

    /// The answer to request `index` of a batch of `count`; nil when the reply is not of the script's form.
    init?(_ index: Int, of count: Int, in reply: Reply) {
        guard reply.elements.count == 1 + count, 0..<count ~= index, case .array(count) = reply.elements[0],
            case .bulk(let range) = reply.elements[1 + index], !range.isEmpty
        else { return nil }
        bytes = reply.bytes[range]
        guard error != nil || termCount != nil else { return nil }
    }

    /// The error with which this request failed, alone; nil where it did not.
    var error: String? {
        guard bytes[bytes.startIndex] == UInt8(ascii: "!") else { return nil }
        return String(decoding: bytes.dropFirst(), as: UTF8.self)
    }

    /// How many terms it tells of.
    var termCount: Int? {
        let (count, rest) = (bytes.count - Self.headLength).quotientAndRemainder(dividingBy: Self.stateLength)
        return count >= 0 && rest == 0 ? count : nil
    }

    private var status: UInt8 { bytes[bytes.startIndex] }

    /// So many of its bytes from a place on, as a number.
    private func number(at place: Int, bytes count: Int) -> Int {
        var value = 0
        for offset in (place..<place + count).reversed() { value = value << 8 | Int(bytes[bytes.startIndex + offset]) }
        return value
    }

    /// What it says of the whole request, without states; nil where that contradicts itself: a denial has a term and a
    /// wait, a lease that was given its two instants, and nothing else has any.
    func verdict(givesLease: Bool) -> CallAnswer? {
        let decider = number(at: 1, bytes: 2) - 1
        let retry = number(at: 3, bytes: 6)
        let least = number(at: 9, bytes: 6)
        let terms = termCount ?? 0
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
        case 6 where isPlain: return CallAnswer(verdict: .tooLate, states: [])
        default: return nil
        }
    }

    /// All that it says of a request that did not fail; nil where that is not of the script's form.
    ///
    /// - Parameter terms: how many terms the request has.
    func decided(terms: Int, givesLease: Bool) -> CallAnswer? {
        guard error == nil, termCount == terms, var answer = verdict(givesLease: givesLease) else { return nil }
        answer.states.reserveCapacity(terms)
        for place in 0..<terms {
            guard let state = state(place) else { return nil }
            answer.states.append(state)
        }
        return answer
    }

    /// How a term stands; nil where a flag is unknown.
    func state(_ place: Int) -> LimitState? {
        let at = Self.headLength + Self.stateLength * place
        let flags = bytes[bytes.startIndex + at + 12]
        guard flags < 64 else { return nil }
        return LimitState(
            used: number(at: at, bytes: 6), resetAfterMilliseconds: number(at: at + 6, bytes: 6),
            isDenied: flags & 1 != 0, isShadowDenied: flags & 2 != 0, isForGood: flags & 4 != 0,
            isCharged: flags & 8 != 0, isHeld: flags & 16 != 0, hasDisplaced: flags & 32 != 0)
    }

    /// The decision on a check of one window under a quota; nil where the answer is not one. It allocates nothing.
    func check(quota: Int) -> DecidedCheck? {
        guard termCount == 1 else { return nil }
        let decider = number(at: 1, bytes: 2)
        let retry = number(at: 3, bytes: 6)
        let least = number(at: 9, bytes: 6)
        guard least <= retry else { return nil }
        let verdict: Decision.Verdict
        switch status {
        case 0 where decider == 0 && retry == 0: verdict = .allowed
        case 1 where decider == 1 && retry > 0: verdict = .denied(retryAfterMilliseconds: retry)
        case 2 where decider == 1 && retry == 0: verdict = .deniedForGood
        default: return nil
        }
        let decision = Decision(
            verdict: verdict, quota: quota, used: number(at: Self.headLength, bytes: 6),
            resetAfterMilliseconds: number(at: Self.headLength + 6, bytes: 6))
        return DecidedCheck(decision: decision, certainMilliseconds: least)
    }
}

/// What Redis decided about a check.
struct DecidedCheck: Hashable {
    var decision: Decision
    /// How long a denial is certain to last, in milliseconds: what leases hold may come back at any time.
    var certainMilliseconds: Int
}
