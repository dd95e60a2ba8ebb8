import RateLimitCore
import RateLimitService

// What a body says of candidates and of dry runs, which only checks and reservations may be.
extension CallBody {
    mutating func readCandidates(_ text: inout JSONReader) throws(RequestError) {
        candidates = []
        guard text.position < text.bytes.count, text.bytes[text.position] == 0x5b else {
            if text.isNull() { return }
            note(.candidates, .invalidCall("candidates is no array"))
            return try text.skipValue(depth: 1)
        }
        var read: [CallCandidate] = []
        var count = 0
        var doubled: String?
        try text.array { (text) throws(RequestError) in
            let index = count
            count += 1
            guard index < CallCandidate.largestCount else { return try text.skipValue(depth: 2) }
            if text.isNull() { return note(.candidates, .invalidCall("candidate \(index) is no object")) }
            let candidate = try take(.candidates, &text) { (text) throws(RequestError) in
                try text.candidate(index)
            }
            guard let candidate else { return }
            if let other = read.first(where: { $0.isSame(as: candidate) }) {
                doubled = "candidate \(index) is candidate \(other.index) again, and is not asked about twice"
            } else {
                read.append(candidate)
            }
        }
        candidates = read
        guard 1...CallCandidate.largestCount ~= count else {
            let reason = "candidates has \(count) of them: accepted are 1 to \(CallCandidate.largestCount)"
            return note(.candidates, .invalidCall(reason))
        }
        // What cannot be used counts before it.
        if let doubled { note(.candidates, doubled) }
    }

    /// A dry run of what tells of a call that was made: it is done all the same.
    func impossibleDryRun(of operation: CallRequest.Operation) -> [Problem] {
        guard isDryRun == true, !operation.asks else { return [] }
        return [Problem(ignored: IgnoredMember(.dryRun, "only a check or a reserve can be a dry run: this was done"))]
    }

    /// Candidates of a call that was made, or beside what each of them says by itself.
    func unusableCandidates(of operation: CallRequest.Operation) -> [Problem] {
        guard !candidates.isEmpty else { return [] }
        guard operation.asks else {
            return [Problem(ignored: IgnoredMember(.candidates, "only a check or a reserve has candidates"))]
        }
        let doubled = [("model", model), ("provider", provider)].first { !($0.1 ?? "").isEmpty }
        guard let (name, _) = doubled else { return [] }
        let reason = "\(name) stands beside candidates: say it in each of them"
        return [Problem(ignored: IgnoredMember(.candidates, reason), refusal: .invalidCall(reason))]
    }

    /// Notes what is passed over and refused by nothing.
    private mutating func note(_ member: IgnoredMember.Name, _ reason: String) {
        guard !problems.contains(where: { $0.ignored.name == member }) else { return }
        problems.append(Problem(ignored: IgnoredMember(member, reason), refusal: nil))
    }
}

extension JSONReader {
    /// Reads one of a call's candidates; members that are not known are passed over.
    fileprivate mutating func candidate(_ index: Int) throws(RequestError) -> CallCandidate {
        guard position < bytes.count, bytes[position] == 0x7b else {
            throw .invalidCall("candidate \(index) is no object")
        }
        var (model, provider): (String?, String?)
        try object { (text, name) throws(RequestError) in
            if text.isName(name, "model") {
                model = text.isNull() ? nil : try text.text("the model of candidate \(index)")
            } else if text.isName(name, "provider") {
                provider = text.isNull() ? nil : try text.text("the provider of candidate \(index)")
            } else {
                try text.skipValue(depth: 3)
            }
        }
        // What is empty is as left out.
        let said = [model, provider].map { $0.flatMap { $0.isEmpty ? nil : $0 } }
        guard said[0] != nil || said[1] != nil else {
            throw .invalidCall("candidate \(index) names neither model nor provider")
        }
        return CallCandidate(index: index, model: said[0], provider: said[1])
    }
}

extension CallCandidate {
    /// Whether both name the same, byte for byte.
    fileprivate func isSame(as other: CallCandidate) -> Bool {
        Array((model ?? "").utf8) == Array((other.model ?? "").utf8)
            && Array((provider ?? "").utf8) == Array((other.provider ?? "").utf8)
    }
}
