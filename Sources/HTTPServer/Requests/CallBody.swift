import RateLimitCore
import RateLimitService

/// Reads what a gateway says of a call: the members of a JSON body, in any order, all but `user` optional. One that is null
/// is as left out, and members that are not known are ignored.
///
///     {"user":"<text>","cost":1,"model":"…","provider":"…","labels":{"route":"…"},"groups":["<text>"],"quotas":{"<limit>":0},
///      "input_tokens":0,"output_tokens":0,"cache_read_input_tokens":0,"cache_write_input_tokens":0,"cost_micros":0,
///      "reasoning_tokens":0,"audio_input_tokens":0,"image_input_tokens":0,"audio_output_tokens":0,"image_output_tokens":0,
///      "usage":{…},"ttl":60,"lease":"…","request_id":"…","refund":false,
///      "candidates":[{"model":"…","provider":"…"}],"dry_run":false}
///
/// A member that cannot be used does not make the body unusable: what a call came to cannot be asked for a second time. It
/// is in ``problems``, and ``request(_:)`` refuses it where the operation can be refused.
struct CallBody: Hashable {
    /// A member that cannot be used, whole or in part.
    struct Problem: Hashable {
        var ignored: IgnoredMember
        /// What is wrong; nil where no operation is refused for it.
        var refusal: RequestError?
    }

    var user: SubjectID?
    var cost: Int?
    var model: String?
    var provider: String?
    var labels: [String: String] = [:]
    var groups: [SubjectID] = []
    var quotas: [CallQuota] = []
    var input: Int?
    var output: Int?
    var cacheRead: Int?
    var cacheWrite: Int?
    /// How many tokens of input and output are of which part; nil where none is told.
    var parts: PerTokenPart<Int>?
    /// What a provider's own usage object says.
    var usage: TokenUsage?
    var costMicros: Int?
    /// How long a lease lives, in seconds.
    var timeToLiveSeconds: Int?
    var lease: Lease?
    var requestID: [UInt8]?
    /// Whether a usage is to be given back.
    var isRefund = false
    /// What the call may be made with, one of several.
    var candidates: [CallCandidate] = []
    /// Whether it only asks what it would be answered.
    var isDryRun: Bool?
    /// At most one for each member.
    var problems: [Problem] = []

    /// How long a lease may live without being renewed.
    static let timesToLive = 1...86_400
    /// How many bytes the id of a request has.
    static let idLengths = 1...128

    /// Reads a whole body.
    ///
    /// - Parameter limits: those in force: of labels only what they name is kept, and groups only where they count those
    ///   that calls name.
    static func read(
        _ bytes: UnsafeRawBufferPointer, under limits: LimitsInForce
    ) throws(RequestError) -> CallBody {
        var layout = BodyLayout()
        return try read(bytes, under: limits, layout: &layout)
    }

    /// Reads a whole body, and says how it is laid out.
    static func read(
        _ bytes: UnsafeRawBufferPointer, under limits: LimitsInForce, layout: inout BodyLayout
    ) throws(RequestError) -> CallBody {
        var text = JSONReader(bytes)
        var body = CallBody()
        try text.wholeObject { (text, name) throws(RequestError) in
            if text.isName(name, "user") {
                body.user = try text.userValue(offset: &layout.userOffset)
            } else if let member = text.member(name) {
                if member != .cost { layout.hasOtherMembers = true }
                try body.read(member, &text, under: limits)
            } else {
                layout.hasOtherMembers = true
                try text.skipValue(depth: 1)
            }
        }
        return body
    }

    private mutating func read(
        _ member: IgnoredMember.Name, _ text: inout JSONReader, under limits: LimitsInForce
    ) throws(RequestError) {
        // Of a repeated member the last one counts.
        if !problems.isEmpty { problems.removeAll { $0.ignored.name == member } }
        switch member {
        case .model: model = try take(member, &text) { (text) throws(RequestError) in try text.text("model") }
        case .provider: provider = try take(member, &text) { (text) throws(RequestError) in try text.text("provider") }
        case .labels: try readLabels(&text, named: limits.set.labelNames)
        case .groups:
            groups = []
            if limits.groupsAreGiven { try readGroups(&text) } else { try text.skipValue(depth: 1) }
        case .quotas: try readQuotas(&text, of: limits.set)
        case .lease:
            lease = try take(member, &text) { (text) throws(RequestError) in try text.lease() }
        case .requestID:
            requestID = try take(member, &text) { (text) throws(RequestError) in
                let id = Array(try text.text("request_id").utf8)
                guard Self.idLengths.contains(id.count) else {
                    throw .invalidCall("request_id does not have 1 to \(Self.idLengths.upperBound) bytes")
                }
                return id
            }
        case .cost: cost = try takeNumber(member, &text, in: Limit.costs, .invalidCost)
        case .inputTokens: input = try takeNumber(member, &text, in: TokenUsage.counts)
        case .outputTokens: output = try takeNumber(member, &text, in: TokenUsage.counts)
        case .cacheReadTokens: cacheRead = try takeNumber(member, &text, in: TokenUsage.counts)
        case .cacheWriteTokens: cacheWrite = try takeNumber(member, &text, in: TokenUsage.counts)
        case .reasoningTokens, .audioInputTokens, .imageInputTokens, .audioOutputTokens, .imageOutputTokens:
            let count = try takeNumber(member, &text, in: TokenUsage.counts)
            guard let part = member.part, parts != nil || count != nil else { return }
            parts = parts ?? PerTokenPart { _ in 0 }
            parts?[part] = count ?? 0
        case .costMicros: costMicros = try takeNumber(member, &text, in: ModelPrice.spends)
        case .timeToLive: timeToLiveSeconds = try takeNumber(member, &text, in: Self.timesToLive)
        case .usage: try readUsage(&text)
        case .refund:
            isRefund = try take(member, &text) { (text) throws(RequestError) in try text.boolean("refund") } ?? false
        case .candidates: try readCandidates(&text)
        case .dryRun:
            isDryRun = try take(member, &text) { (text) throws(RequestError) in try text.boolean("dry_run") }
        }
    }
}

// MARK: - Members

extension CallBody {
    /// Reads a value; nil for null, and for one that cannot be used, which is noted and passed over.
    mutating func take<Value>(
        _ member: IgnoredMember.Name, _ text: inout JSONReader,
        _ read: (inout JSONReader) throws(RequestError) -> Value
    ) throws(RequestError) -> Value? {
        if text.isNull() { return nil }
        let start = text.position
        do throws(RequestError) {
            return try read(&text)
        } catch {
            // What is no JSON cannot be passed over: nobody knows where it ends.
            if case .malformedJSON = error { throw error }
            note(member, error)
            text.position = start
            try text.skipValue(depth: 2)
            return nil
        }
    }

    private mutating func takeNumber(
        _ member: IgnoredMember.Name, _ text: inout JSONReader, in range: ClosedRange<Int>, _ error: RequestError? = nil
    ) throws(RequestError) -> Int? {
        try take(member, &text) { (text) throws(RequestError) in
            guard let number = try text.wholeNumber(), range.contains(number) else {
                throw error
                    ?? .invalidCall(
                        "\(member.rawValue) is no whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
    }

    /// Notes what is wrong with a member, the first thing alone.
    mutating func note(_ member: IgnoredMember.Name, _ error: RequestError) {
        guard !problems.contains(where: { $0.ignored.name == member }) else { return }
        problems.append(Problem(ignored: IgnoredMember(member, error.reason), refusal: error))
    }

    private mutating func readLabels(_ text: inout JSONReader, named names: Set<String>) throws(RequestError) {
        labels = [:]
        guard text.position < text.bytes.count, text.bytes[text.position] == 0x7b else {
            if text.isNull() { return }
            note(.labels, .invalidCall("labels is no object"))
            return try text.skipValue(depth: 1)
        }
        var read: [String: String] = [:]
        try text.object { (text, name) throws(RequestError) in
            // What no limit looks at is passed over, whatever it is.
            guard !names.isEmpty, let label = text.unescaped(name), names.contains(label) else {
                return try text.skipValue(depth: 2)
            }
            read[label] = try take(.labels, &text) { (text) throws(RequestError) in try text.text("label \(label)") }
        }
        labels = read
    }

    private mutating func readGroups(_ text: inout JSONReader) throws(RequestError) {
        guard text.position < text.bytes.count, text.bytes[text.position] == 0x5b else {
            if text.isNull() { return }
            note(.groups, .invalidGroup)
            return try text.skipValue(depth: 1)
        }
        var named: [SubjectID] = []
        try text.array { (text) throws(RequestError) in
            let group = try take(.groups, &text) { (text) throws(RequestError) in try text.subject(.invalidGroup) }
            if let group { named.append(group) }
        }
        add(named)
    }

    /// Takes the groups that were named, up to the most that count, and notes how many do not.
    mutating func add(_ named: [SubjectID]) {
        let most = CallAttributes.maximumGroups
        groups = named
        guard named.count > most else { return }
        let count = Set(named).count
        guard count > most, !problems.contains(where: { $0.ignored.name == .groups }) else { return }
        let reason = "there are more than \(most) groups: the last \(count - most) do not count"
        problems.append(Problem(ignored: IgnoredMember(.groups, reason), refusal: nil))
    }

    private mutating func readQuotas(_ text: inout JSONReader, of limits: LimitSet) throws(RequestError) {
        quotas = []
        guard text.position < text.bytes.count, text.bytes[text.position] == 0x7b else {
            if text.isNull() { return }
            note(.quotas, .invalidCall("quotas is no object"))
            return try text.skipValue(depth: 1)
        }
        var read = CallBody()
        read.problems = problems
        try text.object { (text, name) throws(RequestError) in
            let amount = try read.takeNumber(.quotas, &text, in: LimitDefinition.quotas)
            if let amount { read.add(quota: amount, named: text.unescaped(name) ?? "", of: limits) }
        }
        (quotas, problems) = (read.quotas, read.problems)
    }

    /// Takes what the call says its quota of a limit is, and notes what of that does not count; no call is refused for it.
    mutating func add(quota amount: Int, named name: String, of limits: LimitSet) {
        let (quota, problem) = limits.callQuota(named: name, amount)
        if let quota { quotas.append(quota) }
        guard let problem, !problems.contains(where: { $0.ignored.name == .quotas }) else { return }
        problems.append(Problem(ignored: IgnoredMember(.quotas, "\(problem)"), refusal: nil))
    }

    private mutating func readUsage(_ text: inout JSONReader) throws(RequestError) {
        usage = nil
        guard text.position < text.bytes.count, text.bytes[text.position] == 0x7b else {
            if text.isNull() { return }
            note(.usage, .invalidCall("usage is no object"))
            return try text.skipValue(depth: 1)
        }
        var unusable: String?
        let object = try text.providerUsage(unusable: &unusable)
        if let unusable {
            let range = TokenUsage.counts
            note(
                .usage,
                .invalidCall(
                    "\(unusable) of usage is no whole number from \(range.lowerBound) to \(range.upperBound)"))
        }
        usage = object.tokens
        if usage == nil {
            note(
                .usage,
                .invalidCall("usage is none that OpenAI, Anthropic or Gemini return: no tokens are counted of it"))
        }
    }
}

// MARK: - The request

extension CallBody {
    /// What is asked, with an operation that the route says.
    func request(_ operation: CallRequest.Operation) throws(RequestError) -> CallRequest {
        guard let user = user ?? operation.lease?.owner else { throw .missingUser }
        let kinds = ownKinds
        let tokens = kinds.isEmpty && parts == nil ? nil : ownTokens
        var request = CallRequest(
            user: user, operation: operation,
            attributes: CallAttributes(
                model: model, provider: provider, labels: labels, groups: groups, quotas: quotas),
            cost: cost ?? (operation.isRefund ? 0 : 1), tokens: usage ?? tokens, told: usage == nil ? kinds : .all,
            costMicros: costMicros)
        request.isDryRun = isDryRun == true && operation.asks
        request.candidates = operation.asks ? candidates : []
        request.ignored = try passedOver(by: operation)
        return request
    }

    /// The tokens that members of our own tell. Of a kind of which parts alone are told it is as many as these.
    private var ownTokens: TokenUsage? {
        let most = TokenUsage.counts.upperBound
        func sum(_ kind: TokenKind) -> Int {
            guard let parts else { return 0 }
            return min(most, TokenPart.allCases.reduce(0) { $0 + ($1.kind == kind ? parts[$1] : 0) })
        }
        return TokenUsage(
            input: input ?? sum(.input), output: output ?? sum(.output), cacheRead: cacheRead ?? 0,
            cacheWrite: cacheWrite ?? 0, parts: parts)
    }

    /// The kinds of tokens that members of our own tell.
    private var ownKinds: ToldTokens {
        var kinds: ToldTokens = []
        if input != nil { kinds.insert(.input) }
        if output != nil { kinds.insert(.output) }
        if cacheRead != nil { kinds.insert(.cacheRead) }
        if cacheWrite != nil { kinds.insert(.cacheWrite) }
        return kinds
    }

    /// What of the body does not count. Most bodies have nothing of the kind.
    private func passedOver(by operation: CallRequest.Operation) throws(RequestError) -> [IgnoredMember] {
        if problems.isEmpty, usage == nil, cost == nil, !isRefund, isDryRun != true, candidates.isEmpty { return [] }
        let problems =
            problems + doubleTokens + uncountedCost(of: operation) + misplacedRefund(in: operation)
            + impossibleDryRun(of: operation) + unusableCandidates(of: operation)
        if problems.isEmpty { return [] }
        let used = operation.refusableMembers
        if let refusal = problems.first(where: { $0.refusal != nil && used.contains($0.ignored.name) })?.refusal {
            throw refusal
        }
        return problems.map(\.ignored)
    }

    /// A cost that a usage tells: the check or reserve of the call has charged it.
    private func uncountedCost(of operation: CallRequest.Operation) -> [Problem] {
        guard case .usage = operation, cost != nil else { return [] }
        return [Problem(ignored: IgnoredMember(.cost, "usage charges no requests: the call's check or reserve does"))]
    }

    /// A refund that is asked of another route: what is done there is no refund.
    private func misplacedRefund(in operation: CallRequest.Operation) -> [Problem] {
        guard isRefund, !operation.isRefund else { return [] }
        return [Problem(ignored: IgnoredMember(.refund, "it counts for usage alone"))]
    }

    /// Counts of our own beside a provider's object: that is whole, and counts.
    private var doubleTokens: [Problem] {
        guard usage != nil, !ownKinds.isEmpty || parts != nil else { return [] }
        let told: [(IgnoredMember.Name, Int?)] = [
            (.inputTokens, input), (.outputTokens, output), (.cacheReadTokens, cacheRead),
            (.cacheWriteTokens, cacheWrite),
        ]
        // Of parts nobody knows any more which were told as 0, and these say nothing.
        let own = told + TokenPart.allCases.map { (IgnoredMember.Name($0), parts?[$0] == 0 ? nil : parts?[$0]) }
        return own.filter { $1 != nil }.map { name, _ in
            let reason = "\(name.rawValue) stands beside usage, which counts: send one of them"
            return Problem(ignored: IgnoredMember(name, reason), refusal: .invalidCall(reason))
        }
    }
}

extension CallRequest.Operation {
    fileprivate var isRefund: Bool { if case .refund = self { true } else { false } }

    /// The members for which it is refused where they cannot be used. What tells of a call that was made is refused for
    /// nothing but its lease, or where nobody knows whether it is a refund: nobody can make the call anew. A refund can be
    /// made anew, and one of another amount under its id could not be mended.
    fileprivate var refusableMembers: Set<IgnoredMember.Name> {
        switch self {
        case .look: Self.ofCalls
        case .check, .checkOnce: Self.ofCalls.union([.requestID])
        case .reserve: Self.ofCalls.union([.timeToLive])
        case .renew: [.lease, .timeToLive]
        case .settle, .release: [.lease]
        case .usage: [.refund]
        case .refund: Self.ofCalls.union([.requestID])
        }
    }

    private static let ofCalls: Set<IgnoredMember.Name> = [
        .cost, .model, .provider, .labels, .groups, .quotas, .inputTokens, .outputTokens, .cacheReadTokens,
        .cacheWriteTokens, .reasoningTokens, .audioInputTokens, .imageInputTokens, .audioOutputTokens,
        .imageOutputTokens, .costMicros, .usage, .dryRun, .candidates,
    ]
}

extension RequestError {
    /// What is wrong, as a part of a sentence.
    fileprivate var reason: String {
        switch self {
        case .invalidCall(let reason): reason
        default: detail
        }
    }
}
