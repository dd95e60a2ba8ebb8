import RateLimitCore
import RateLimitService

/// What the descriptors of a request ask of the daemon's own limits: those of the domain ``domain``, whose entries name who
/// calls and what the call says of itself. As a value: no engine, no clock.
///
/// Values come from clients, and a request that is answered with an error passes at most proxies. So only what an operator
/// has written is an error, and a value that cannot be used denies.
struct LimitsDomainRequest: Hashable {
    /// The domain.
    static let domain = DescriptorDomain.ofLimits

    /// One thing that the engine is asked, or told.
    struct Step: Hashable {
        enum Kind: Hashable {
            /// Whether anything is left; nothing is charged.
            case peek
            /// Whether the call may go on.
            case ask
            /// What the call came to.
            case charge
            /// What was charged by mistake.
            case refund
            /// Nothing: a value denies the call as it stands.
            case deny
        }

        var kind: Kind
        /// What is asked; nil where nothing is.
        var request: CallRequest?
        /// The id under which what the call may come to is held until it is told; nil where nothing is held.
        var requestID: [UInt8]?
    }

    /// In the order in which they are done: what may deny comes before what charges.
    private(set) var steps: [Step] = []
    /// For each descriptor the place of its step.
    private(set) var stepOfDescriptor: [Int] = []

    /// Takes a request apart.
    ///
    /// - Parameter limits: those in force: of labels only what they name is kept, and groups only where they count those
    ///   that calls name.
    init(_ request: DescriptorRequest, under limits: LimitsInForce) throws(GRPCError) {
        var calls: [NamedCall] = []
        for (index, descriptor) in request.descriptors.enumerated() {
            do throws(NamedCall.Problem) {
                calls.append(try NamedCall(descriptor, hits: request.hits, under: limits))
            } catch {
                throw .invalid("cannot decide for descriptor \(index + 1) in the domain \(Self.domain): \(error)")
            }
        }
        guard calls.count(where: \.holdsOrTakes) <= 1 else {
            throw .invalid(
                "cannot decide for several descriptors that ask in the domain \(Self.domain), since one decision is all or "
                    + "nothing: accepted are one, any that look (hits_addend 0) and any with an entry charge")
        }
        add(calls)
    }

    private mutating func add(_ calls: [NamedCall]) {
        stepOfDescriptor = [Int](repeating: 0, count: calls.count)
        // What may deny without being asked comes first, then what looks, and what takes something last of these.
        for kind in [Step.Kind.deny, .peek, .ask] {
            for (index, call) in calls.enumerated() where call.kind == kind {
                stepOfDescriptor[index] = steps.count
                steps.append(Step(kind: kind, request: call.request, requestID: call.requestID))
            }
        }
        for kind in [Step.Kind.charge, .refund] { addAmounts(of: calls, kind) }
    }

    /// Adds what calls came to, or what is given back of them: one step for all descriptors that name the same call.
    private mutating func addAmounts(of calls: [NamedCall], _ kind: Step.Kind) {
        var told: [(call: NamedCall, amounts: ChargedAmounts, descriptors: [Int])] = []
        for (index, call) in calls.enumerated() where call.kind == kind {
            let place = told.firstIndex { $0.call.isSameCall(as: call) } ?? told.count
            if place == told.count { told.append((call, ChargedAmounts(), [])) }
            told[place].amounts.add(call.hits, of: call.charge)
            told[place].descriptors.append(index)
        }
        for (call, amounts, descriptors) in told {
            for index in descriptors { stepOfDescriptor[index] = steps.count }
            steps.append(Step(kind: kind, request: call.request(telling: amounts), requestID: call.requestID))
        }
    }
}

/// One descriptor as it names a call.
private struct NamedCall {
    /// Why it names none.
    enum Problem: Error, CustomStringConvertible {
        case unknownEntry(String)
        case repeatedEntry(String)
        case noUser
        case unknownCharge(String)
        case hasLimit

        var description: String {
            switch self {
            case .unknownEntry(let key):
                "it has the entry \(key); accepted are user, group, model, provider, label.<name>, quota.<limit>, charge and x-request-id"
            case .repeatedEntry(let key): "it has the entry \(key) twice"
            case .noUser: "it has no entry user"
            case .unknownCharge(let value):
                "it charges \(value); accepted are \(Charge.allCases.map(\.rawValue).joined(separator: ", "))"
            case .hasLimit: "it has a limit of its own, and the limits are those of the limits file"
            }
        }
    }

    private let entries: [DescriptorEntry]
    /// Who calls; nil where the value is none.
    private let user: SubjectID?
    private let attributes: CallAttributes
    let requestID: [UInt8]?
    /// What it tells that the call came to; nil where it asks.
    let charge: Charge?
    let hits: Int
    /// Whether it gives back what it names; requests, where that is no charge.
    private let isRefund: Bool
    /// Whether a value of it cannot be used.
    private let isUnusable: Bool

    init(_ descriptor: Descriptor, hits: Int, under limits: LimitsInForce) throws(Problem) {
        if descriptor.quota != nil { throw .hasLimit }
        isRefund = descriptor.isRefund
        entries = descriptor.entries
        var single: [String: String] = [:]
        var labels: [String: String] = [:]
        var groups: [SubjectID?] = []
        var quotas: [CallQuota] = []
        var hasUnusableQuota = false
        for entry in descriptor.entries {
            switch entry.key {
            case "group": if limits.groupsAreGiven { groups.append(SubjectID(entry.value)) }
            case "user", "model", "provider", "charge", "x-request-id":
                guard single.updateValue(entry.value, forKey: entry.key) == nil else {
                    throw .repeatedEntry(entry.key)
                }
            case let key where key.hasPrefix("quota."):
                guard let amount = WholeNumber.read(entry.value.utf8), LimitDefinition.quotas.contains(amount) else {
                    hasUnusableQuota = true
                    continue
                }
                let quota = limits.set.callQuota(named: String(key.dropFirst(6)), amount).quota
                if let quota { quotas.append(quota) }
            default:
                guard entry.key.hasPrefix("label."), entry.key.utf8.count > 6 else { throw .unknownEntry(entry.key) }
                let name = String(entry.key.dropFirst(6))
                guard labels.updateValue(entry.value, forKey: name) == nil else { throw .repeatedEntry(entry.key) }
            }
        }
        guard let userText = single["user"] else { throw .noUser }
        user = SubjectID(userText)
        if let text = single["charge"] {
            guard let charge = Charge(rawValue: text) else { throw .unknownCharge(text) }
            self.charge = charge
        } else {
            charge = nil
        }
        // What a call came to is not lost for a group that is none, nor is what is given back of it.
        if charge != nil || isRefund { groups.removeAll { $0 == nil } }
        attributes = CallAttributes(
            model: single["model"], provider: single["provider"],
            labels: labels.filter { limits.set.labelNames.contains($0.key) }, groups: groups.compactMap { $0 },
            quotas: quotas)
        // A longer one is no id, so that what is remembered of ids is bounded: then nothing is held.
        requestID = single["x-request-id"].map { Array($0.utf8) }.flatMap { Self.idLengths ~= $0.count ? $0 : nil }
        self.hits = descriptor.hits ?? max(1, hits)
        isUnusable = user == nil || groups.contains(nil) || hasUnusableQuota && charge == nil
    }

    /// How many bytes the id of a request has.
    private static let idLengths = 1...128

    /// What it is for.
    var kind: LimitsDomainRequest.Step.Kind {
        if isUnusable || charge == nil && hits > Limit.costs.upperBound { return .deny }
        if isRefund { return .refund }
        if charge != nil { return .charge }
        return hits == 0 && requestID == nil ? .peek : .ask
    }

    /// Whether it takes something where it is admitted, or holds it.
    var holdsOrTakes: Bool { charge == nil && !isRefund && (hits > 0 || requestID != nil) }

    /// Whether another one says the same of who calls, and of the call: byte by byte, as keys and prices are, so that of two
    /// Unicode forms of a name each is another one.
    func isSameCall(as other: NamedCall) -> Bool { said == other.said }

    /// All that its entries say but what it charges, in an order that is not theirs.
    private var said: [[UInt8]] {
        entries.filter { $0.key != "charge" }.map { Array($0.key.utf8) + [0] + Array($0.value.utf8) }
            .sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// What it asks; nil where nobody can be asked for.
    var request: CallRequest? {
        guard kind != .deny, let user else { return nil }
        // A cost of 0 asks for room of every limit, and takes none.
        return CallRequest(user: user, attributes: attributes, cost: hits)
    }

    /// What its call came to, or what is given back of it.
    func request(telling amounts: ChargedAmounts) -> CallRequest? {
        guard let user else { return nil }
        let id = requestID ?? []
        return CallRequest(
            user: user, operation: isRefund ? .refund(id: id) : .usage(id: id), attributes: attributes,
            cost: isRefund ? amounts.requests : 1, tokens: amounts.tokens, told: amounts.told,
            costMicros: amounts.costMicros)
    }
}

/// What an entry `charge` says that the hits are.
///
/// Requests are none of it: the descriptor that asks charges them, and nothing charges them afterwards.
enum Charge: String, CaseIterable, Hashable {
    /// All tokens of a call.
    case tokens
    case inputTokens = "input_tokens"
    case outputTokens = "output_tokens"
    /// Money, in micro-dollars.
    case spendMicros = "spend_micros"
}

/// What the charges of one call come to.
struct ChargedAmounts: Hashable {
    private var amounts: [Charge: Int] = [:]
    /// Requests, of which only refunds tell.
    private(set) var requests = 0

    /// Adds hits, of requests where that is no charge.
    mutating func add(_ hits: Int, of charge: Charge?) {
        guard let charge else {
            requests = min(requests + hits, Limit.costs.upperBound)
            return
        }
        amounts[charge] = min(amounts[charge, default: 0] + hits, TokenUsage.counts.upperBound)
    }

    /// The tokens; nil where nothing is said of them. What `tokens` says beyond the kinds that are told is of the kind that
    /// is not: the input, or where that is told the output.
    var tokens: TokenUsage? {
        guard !told.isEmpty else { return nil }
        let (input, output) = (amounts[.inputTokens], amounts[.outputTokens])
        let rest = max(0, (amounts[.tokens] ?? 0) - (input ?? 0) - (output ?? 0))
        if input == nil { return TokenUsage(input: rest, output: output ?? 0) }
        return TokenUsage(input: input ?? 0, output: output ?? rest)
    }

    /// The kinds that are told.
    var told: ToldTokens {
        var told: ToldTokens = []
        if amounts[.inputTokens] != nil { told.insert(.input) }
        if amounts[.outputTokens] != nil { told.insert(.output) }
        if amounts[.tokens] != nil { told.formUnion([.input, .output]) }
        return told
    }

    /// The money; nil where nothing is said of it.
    var costMicros: Int? { amounts[.spendMicros].map { min($0, ModelPrice.spends.upperBound) } }
}
