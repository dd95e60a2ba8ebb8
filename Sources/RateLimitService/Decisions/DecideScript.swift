import NIOCore
import RateLimitCore
import RedisClient

/// How a batch of calls is put to `decide.lua`, and how its answer is read.
///
/// The script file says what KEYS, ARGV and the reply are; this is its other side.
struct DecideScript {
    private static let bytes =
        PackageResources.decide_lua + PackageResources.decide_windows_lua + PackageResources.decide_calls_lua

    /// The script's text: `Scripts/decide.lua` and the two files that go on from it.
    static let text = String(decoding: bytes, as: UTF8.self)

    /// A term names its definition by a byte.
    private static let mostDefinitions = 256

    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String?

    /// The batch that is being laid out.
    private(set) var count = 0
    private var keyCount = 0
    private var keys = ByteBuffer()
    private var calls = ByteBuffer()
    private var definitions = ByteBuffer()
    private var indexes: [Definition: UInt8] = [:]

    fileprivate struct Definition: Hashable {
        var id: UInt32
        var kind: LimitKind
        var isShadow: Bool
        var needsRoom: Bool
    }

    /// Takes one more call into the batch that is being laid out; false, and nothing taken, where the batch has no room
    /// for its limits' definitions and must be written first. An empty batch has room for any call.
    mutating func append(_ call: DecisionCall) -> Bool {
        guard indexes.count + call.termCount <= Self.mostDefinitions || hasRoom(for: call) else { return false }
        var argument = ByteBuffer()
        argument.writeInteger(call.operation.rawValue)
        argument.writeInteger(UInt8(call.subjects.count))
        argument.writeInteger(UInt32(call.timeToLiveMilliseconds), endianness: .little)
        argument.writeInteger(UInt8(call.id.count))
        argument.writeBytes(call.id)
        for subject in call.subjects {
            keys.writeRESPBulk(subject.key)
            argument.writeInteger(UInt8(subject.terms.count))
            for term in subject.terms {
                argument.writeInteger(index(of: Definition(term)))
                argument.writeLittleEndian(term.quota, bytes: 6)
                argument.writeLittleEndian(term.cost, bytes: 6)
            }
        }
        calls.writeRESPBulk(argument.readableBytesView)
        keyCount += call.subjects.count
        count += 1
        return true
    }

    private func hasRoom(for call: DecisionCall) -> Bool {
        let wanted = Set(call.subjects.flatMap { $0.terms.map(Definition.init) })
        return indexes.count + wanted.count { indexes[$0] == nil } <= Self.mostDefinitions
    }

    private mutating func index(of definition: Definition) -> UInt8 {
        if let index = indexes[definition] { return index }
        let index = UInt8(indexes.count)
        indexes[definition] = index
        definitions.writeInteger(definition.id, endianness: .little)
        let numbers: (kind: UInt8, Int, Int, Int, Int) =
            switch definition.kind {
            case .sliding(let milliseconds): (0, milliseconds, 0, 0, 0)
            case .calendar(let at): (1, at.previousStart, at.start, at.nextStart, at.afterNextStart)
            case .concurrency: (2, 0, 0, 0, 0)
            }
        definitions.writeInteger(numbers.kind)
        definitions.writeInteger((definition.isShadow ? 1 : 0) | (definition.needsRoom ? 2 : 0), as: UInt8.self)
        for number in [numbers.1, numbers.2, numbers.3, numbers.4] {
            definitions.writeLittleEndian(number, bytes: 5)
        }
        return index
    }

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `inFull` or where there is no digest,
    /// and begins the next one.
    mutating func write(inFull: Bool, to buffer: inout ByteBuffer) {
        buffer.writeRESPArray(count: 4 + keyCount + count)
        if let digest, !inFull {
            buffer.writeRESPBulk("EVALSHA".utf8)
            buffer.writeRESPBulk(digest.utf8)
        } else {
            buffer.writeRESPBulk("EVAL".utf8)
            buffer.writeRESPBulk(Self.bytes)
        }
        buffer.writeRESPBulk(decimal: keyCount)
        buffer.writeImmutableBuffer(keys)
        buffer.writeRESPBulk(definitions.readableBytesView)
        buffer.writeImmutableBuffer(calls)
        keys.clear()
        calls.clear()
        definitions.clear()
        indexes.removeAll(keepingCapacity: true)
        count = 0
        keyCount = 0
    }

    private static let headLength = 15
    private static let stateLength = 13

    /// The answer to call `index` of a batch of `count`; nil when the reply is not of the script's form.
    ///
    /// - Parameter call: the call that was put, which says how many terms the answer has.
    static func answer(_ index: Int, of count: Int, in reply: Reply, to call: DecisionCall) -> ScriptAnswer<CallAnswer>?
    {
        guard reply.elements.count == 1 + count, 0..<count ~= index, case .array(count) = reply.elements[0],
            case .bulk(let range) = reply.elements[1 + index], let first = reply.bytes[range].first
        else { return nil }
        let bytes = reply.bytes[range]
        if first == UInt8(ascii: "!") { return .failed(String(decoding: bytes.dropFirst(), as: UTF8.self)) }
        let terms = call.operation == .reset ? 0 : call.termCount
        guard bytes.count == headLength + stateLength * terms else { return nil }
        let start = bytes.startIndex
        let decider = number(bytes[start + 1..<start + 3])
        let retry = number(bytes[start + 3..<start + 9])
        let least = number(bytes[start + 9..<start + headLength])
        guard let verdict = verdict(status: first, decider: decider, retry: retry, terms: terms), least <= retry
        else { return nil }
        var states: [LimitState] = []
        states.reserveCapacity(terms)
        for term in 0..<terms {
            let at = start + headLength + stateLength * term
            let flags = bytes[at + 12]
            guard flags < 32 else { return nil }
            states.append(
                LimitState(
                    used: number(bytes[at..<at + 6]), resetAfterMilliseconds: number(bytes[at + 6..<at + 12]),
                    isDenied: flags & 1 != 0, isShadowDenied: flags & 2 != 0, isForGood: flags & 4 != 0,
                    isCharged: flags & 8 != 0, isHeld: flags & 16 != 0))
        }
        return .decided(CallAnswer(verdict: verdict, states: states, leastWaitMilliseconds: least))
    }

    /// The verdict; nil where a denial has no term or no wait, or another status has one.
    private static func verdict(status: UInt8, decider: Int, retry: Int, terms: Int) -> CallVerdict? {
        let hasTerm = decider >= 1 && decider <= terms
        let hasNone = decider == 0 && retry == 0
        switch status {
        case 0: return hasNone ? .done : nil
        case 1: return hasTerm && retry > 0 ? .denied(term: decider - 1, retryAfterMilliseconds: retry) : nil
        case 2: return hasTerm && retry == 0 ? .deniedForGood(term: decider - 1) : nil
        case 3: return hasTerm && retry > 0 ? .atCapacity(term: decider - 1, retryAfterMilliseconds: retry) : nil
        case 4: return hasNone ? .unknownLease : nil
        case 5: return hasNone ? .repeated : nil
        default: return nil
        }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reversed().reduce(0) { $0 << 8 | Int($1) } }
}

extension DecideScript.Definition {
    fileprivate init(_ term: LimitTerm) {
        self.init(id: term.id, kind: term.kind, isShadow: term.isShadow, needsRoom: term.needsRoom)
    }
}

extension ByteBuffer {
    fileprivate mutating func writeLittleEndian(_ value: Int, bytes: Int) {
        for shift in 0..<bytes { writeInteger(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
    }
}
