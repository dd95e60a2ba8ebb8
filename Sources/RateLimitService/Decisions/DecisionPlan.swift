import NIOCore
import RateLimitCore
import RedisClient

/// What requests of one kind ask of the script: which limits of how many subjects they meet, how these count, and how
/// much is allowed. Whose windows these are, under which id and what it costs is of each request.
///
/// A plan is laid out once, when it is made; of requests that share it, a batch carries it once.
final class DecisionPlan: Sendable {
    /// A limit, and what a request costs of it.
    struct Term {
        /// Where the cost comes from.
        enum Cost {
            /// One of the request's amounts, by its place from 0 on.
            case amount(Int)
            /// It is the same for all requests of the plan; ``DecisionPlan/unknownCost`` where it is not known.
            case fixed(Int)
        }

        var id: UInt32
        var kind: LimitKind
        var isShadow = false
        var quota: Int
        var cost: Cost
        /// Whether a cost above the quota is taken for the quota.
        var isBoundedByQuota = false
        /// Amounts, ascending, of which it is said when a request crosses them.
        var thresholds: [Int] = []
    }

    /// How a cost is put that is not known: nothing is charged, and room is asked for all the same.
    static let unknownCost = 1 << 48 - 1
    /// The most amounts of a request.
    static let largestAmountCount = 255
    /// How many values a subject's bound may be; 0 is none.
    static let valueBounds = 0...1 << 24 - 1

    let operation: DecisionOperation
    let subjectCount: Int
    /// Terms of all subjects together.
    let termCount: Int
    let amountCount: Int
    /// Whether its requests have an id.
    let hasID: Bool
    /// For how long a lease that lapsed and the id of a usage or check are remembered.
    let rememberMilliseconds: Int
    /// The argument of the command, a bulk string of RESP.
    let argument: [UInt8]
    private let contentHash: Int

    /// Makes a plan of each subject's terms, in the order of the keys.
    ///
    /// - Parameter lifeMilliseconds: how long a lease that is given or renewed lives.
    /// - Parameter rememberMilliseconds: for how long a lease that lapsed and the id of a usage or check are
    ///   remembered.
    /// - Parameter mostValues: for each subject how many of its kind its user or group may have, one for each value of
    ///   what calls say, within ``valueBounds``; none, or 0, for no bound. A subject with a bound has a key
    ///   `{<base>}:by:<name>=<value>,…`. Of a reset it says instead that the terms' limits are forgotten of all values.
    init(
        _ operation: DecisionOperation, hasID: Bool = false, lifeMilliseconds: Int = 0, rememberMilliseconds: Int = 0,
        amountCount: Int, subjects: [[Term]], mostValues: [Int] = []
    ) {
        precondition(amountCount <= Self.largestAmountCount && subjects.count <= DecisionCall.largestCount)
        precondition(mostValues.isEmpty || mostValues.count == subjects.count)
        precondition(mostValues.allSatisfy(Self.valueBounds.contains))
        self.operation = operation
        self.hasID = hasID
        self.rememberMilliseconds = rememberMilliseconds
        self.amountCount = amountCount
        subjectCount = subjects.count
        termCount = subjects.reduce(0) { $0 + $1.count }
        var text = ByteBuffer()
        text.writeInteger(operation.rawValue)
        text.writeInteger(UInt8(subjects.count))
        text.writeInteger(hasID ? 1 : 0, as: UInt8.self)
        text.writeInteger(UInt8(amountCount))
        text.writeInteger(UInt32(lifeMilliseconds), endianness: .little)
        text.writeInteger(UInt32(rememberMilliseconds), endianness: .little)
        for (subject, terms) in subjects.enumerated() {
            text.writeInteger(UInt8(terms.count))
            let most = mostValues.isEmpty ? 0 : mostValues[subject]
            text.writeInteger(UInt16(truncatingIfNeeded: most), endianness: .little)
            text.writeInteger(UInt8(most >> 16))
            for index in Self.order(terms.map(\.id)) { text.write(terms[index]) }
        }
        var argument = ByteBuffer()
        argument.writeRESPBulk(text.readableBytesView)
        self.argument = Array(argument.readableBytesView)
        contentHash = self.argument.hashValue
    }

    /// The same, where the request behind it is the call's next candidate.
    func beforeNextCandidate() -> DecisionPlan { DecisionPlan(beforeNextCandidate: self) }

    private init(beforeNextCandidate other: DecisionPlan) {
        operation = other.operation
        hasID = other.hasID
        rememberMilliseconds = other.rememberMilliseconds
        amountCount = other.amountCount
        (subjectCount, termCount) = (other.subjectCount, other.termCount)
        var argument = other.argument
        // A bulk string of RESP has its length on a line before it.
        guard let start = argument.firstIndex(of: UInt8(ascii: "\n")) else {
            preconditionFailure("a bulk string has a first line")
        }
        argument[start + 3] |= 2
        self.argument = argument
        contentHash = ~other.contentHash
    }

    /// What all checks ask under the limit of checks: one sliding window of the user.
    ///
    /// - Parameter rememberMilliseconds: as of calls: a check may be the first to find that a lease has lapsed.
    convenience init(
        checksUnder limit: Limit, rememberMilliseconds: Int = LeaseTimes().rememberMilliseconds
    ) {
        let term = Term(
            id: LimitDefinition.requestsID, kind: .sliding(windowMilliseconds: limit.windowMilliseconds),
            quota: limit.quota, cost: .amount(0))
        self.init(.check, rememberMilliseconds: rememberMilliseconds, amountCount: 1, subjects: [[term]])
    }

    /// In which order the script goes through a subject's limits, and answers: by ascending id.
    static func order(_ ids: [UInt32]) -> [Int] { ids.indices.sorted { ids[$0] < ids[$1] } }

    /// Whether it asks the same as another.
    func isEqual(to other: DecisionPlan) -> Bool {
        self === other || contentHash == other.contentHash && argument == other.argument
    }
}

extension ByteBuffer {
    fileprivate mutating func write(_ term: DecisionPlan.Term) {
        writeInteger(term.id, endianness: .little)
        let numbers: (kind: UInt8, Int, Int, Int, Int) =
            switch term.kind {
            case .sliding(let milliseconds): (0, milliseconds, 0, 0, 0)
            case .calendar(let at): (1, at.previousStart, at.start, at.nextStart, at.afterNextStart)
            case .concurrency: (2, 0, 0, 0, 0)
            case .lifetime(let idleMilliseconds): (3, idleMilliseconds, 0, 0, 0)
            }
        writeInteger(numbers.kind)
        let tells = term.thresholds.isEmpty ? 0 : 4 as UInt8
        writeInteger((term.isShadow ? 1 : 0) | (term.isBoundedByQuota ? 2 : 0) | tells)
        for number in [numbers.1, numbers.2, numbers.3, numbers.4] {
            writeInteger(UInt32(truncatingIfNeeded: number), endianness: .little)
            writeInteger(UInt8(truncatingIfNeeded: number >> 32))
        }
        writeAmount(term.quota)
        switch term.cost {
        case .amount(let place):
            writeInteger(UInt8(place + 1))
            writeAmount(0)
        case .fixed(let cost):
            writeInteger(0, as: UInt8.self)
            writeAmount(cost)
        }
        guard !term.thresholds.isEmpty else { return }
        writeInteger(UInt8(term.thresholds.count))
        for amount in term.thresholds { writeAmount(amount) }
    }

    /// Writes an amount or an instant as the script takes it, in 48 bits.
    mutating func writeAmount(_ value: Int) {
        // One write, of which the next one takes the end back.
        writeInteger(UInt64(bitPattern: Int64(value)), endianness: .little)
        moveWriterIndex(to: writerIndex - 2)
    }
}
