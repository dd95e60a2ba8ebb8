import NIOCore

/// Which server to follow, from what the Sentinels say: a value without connections and without a clock of its own.
///
/// A Sentinel may be cut off and still name the former master, or name a wrong one. So all are asked, and what more than
/// half of all known Sentinels say is followed at once; Sentinel itself starts no failover with fewer. Where that many
/// do not answer, or do not agree, what most of those say that answered is followed after a while: the higher epoch, and
/// then the order of the Sentinels, breaks a tie. But a master that answers is not left for the word of a single one.
struct MasterElection {
    /// A Sentinel, and what it last said.
    struct Sentinel {
        let address: RedisEndpoint.Address
        /// Whether it was named in the URL, and not by another Sentinel.
        let isSeed: Bool
        /// Its own name for itself: a Sentinel known by two addresses has one voice.
        fileprivate(set) var id: String?
        /// What it said; nil while it does not answer.
        fileprivate(set) var answer: SentinelAnswer?
        fileprivate(set) var hasFailed = false
        fileprivate var peers: [SentinelPeer] = []
        fileprivate var dissent: (since: NIODeadline, isReported: Bool)?
    }

    enum Verdict: Equatable {
        /// Another server is to be followed.
        case follow(RedisEndpoint.Address)
        case stay
        /// It would take an answer that may still come: decide again after a while.
        case undecided
        /// Whoever answers watches no master of the name.
        case unknownName
        /// No Sentinel answers.
        case noAnswer
    }

    /// How long a Sentinel may name another master before that is worth a line: in a failover some are later than others.
    static let dissentPatience = TimeAmount.seconds(3)

    /// Those of the URL first, in its order.
    private(set) var sentinels: [Sentinel]
    /// The server that is followed.
    private(set) var followed: RedisEndpoint.Address?
    /// Whether that one answers, as a master.
    private(set) var isMasterThere = false
    /// Servers that were named and said by their ROLE that they are no masters, since one last was.
    private var refused: [RedisEndpoint.Address] = []

    init(seeds: [RedisEndpoint.Address]) {
        var unique: [RedisEndpoint.Address] = []
        for seed in seeds where !unique.contains(seed) { unique.append(seed) }
        sentinels = unique.map { Sentinel(address: $0, isSeed: true) }
    }

    /// How many Sentinels there are, those that do not answer included: as many as the URL names, or as have been told of.
    var knownCount: Int {
        let ids = Set(sentinels.compactMap(\.id) + sentinels.flatMap { $0.peers.map(\.id) })
        let seeds = sentinels.filter(\.isSeed)
        let seedIDs = seeds.compactMap(\.id)
        return max(ids.count, seeds.count - seedIDs.count + Set(seedIDs).count)
    }

    /// Whether a Sentinel names another master than the one that is followed and there.
    var hasDissent: Bool { sentinels.contains { $0.dissent != nil } }
}

// MARK: - What is heard

extension MasterElection {
    private mutating func change(_ address: RedisEndpoint.Address, _ body: (inout Sentinel) -> Void) {
        guard let index = sentinels.firstIndex(where: { $0.address == address }) else { return }
        body(&sentinels[index])
    }

    mutating func identified(_ address: RedisEndpoint.Address, as id: String) { change(address) { $0.id = id } }

    mutating func answered(_ address: RedisEndpoint.Address, _ answer: SentinelAnswer, peers: [SentinelPeer]) {
        change(address) {
            $0.answer = answer
            $0.hasFailed = false
            $0.peers = peers
        }
    }

    /// The Sentinel does not answer.
    mutating func lost(_ address: RedisEndpoint.Address) {
        change(address) {
            $0.answer = nil
            $0.hasFailed = true
            // Otherwise two that are gone would keep each other known.
            if !$0.isSeed { $0.peers = [] }
        }
    }

    /// The server that is followed answers and is a master.
    mutating func masterCame() {
        isMasterThere = true
        refused = []
    }

    /// It does not answer, or is no master.
    mutating func masterLeft(asReplica isReplica: Bool) {
        isMasterThere = false
        guard isReplica, let followed, !refused.contains(followed) else { return }
        // The oldest goes: there are no more voices than Sentinels.
        if refused.count == RedisTopology.maximumHosts { refused.removeFirst() }
        refused.append(followed)
    }

    mutating func follow(_ address: RedisEndpoint.Address) {
        followed = address
        isMasterThere = false
        for index in sentinels.indices { sentinels[index].dissent = nil }
    }
}

// MARK: - What follows from it

extension MasterElection {
    private struct Candidate {
        var address: RedisEndpoint.Address
        var voices: Int
        var configEpoch: Int
    }

    /// What to do now.
    ///
    /// - Parameter isPatienceOver: whether answers that have not come by now are not waited for.
    func verdict(isPatienceOver: Bool) -> Verdict {
        let answers = voices()
        guard !answers.isEmpty else { return sentinels.allSatisfy(\.hasFailed) ? .noAnswer : .undecided }
        var candidates: [Candidate] = []
        for case .names(let address, let epoch) in answers {
            if let index = candidates.firstIndex(where: { $0.address == address }) {
                candidates[index].voices += 1
                candidates[index].configEpoch = max(candidates[index].configEpoch, epoch)
            } else {
                candidates.append(Candidate(address: address, voices: 1, configEpoch: epoch))
            }
        }
        // Where all have been refused, one of them may have become a master since.
        let acceptable = candidates.filter { !refused.contains($0.address) }
        guard let best = Self.best(acceptable.isEmpty ? candidates : acceptable) else {
            return isPatienceOver || answers.count * 2 > knownCount ? .unknownName : .undecided
        }
        if best.voices * 2 <= knownCount {
            guard isPatienceOver else { return .undecided }
            if isMasterThere, best.voices < 2 { return .stay }
        }
        return best.address == followed ? .stay : .follow(best.address)
    }

    private static func best(_ candidates: [Candidate]) -> Candidate? {
        var best = candidates.first
        for candidate in candidates.dropFirst() {
            guard let leader = best else { continue }
            if (candidate.voices, candidate.configEpoch) > (leader.voices, leader.configEpoch) { best = candidate }
        }
        return best
    }

    /// One answer for each Sentinel that answers.
    private func voices() -> [SentinelAnswer] {
        var heard: Set<String> = []
        return sentinels.compactMap { sentinel in
            guard let answer = sentinel.answer else { return nil }
            if let id = sentinel.id, !heard.insert(id).inserted { return nil }
            return answer
        }
    }

    /// Takes in the Sentinels that others tell of, within the bound, and leaves those of which nobody tells any more.
    mutating func reviseSentinels() -> (added: [RedisEndpoint.Address], removed: [RedisEndpoint.Address]) {
        guard sentinels.contains(where: { $0.answer != nil }) else { return ([], []) }
        let seeds = sentinels.filter(\.isSeed)
        let seedIDs = seeds.compactMap(\.id)
        var told: [RedisEndpoint.Address] = []
        for peer in sentinels.flatMap(\.peers) where seeds.count + told.count < RedisTopology.maximumHosts {
            let isSeed = seedIDs.contains(peer.id) || seeds.contains { $0.address == peer.address }
            if !isSeed, !told.contains(peer.address) { told.append(peer.address) }
        }
        let learned = sentinels.filter { !$0.isSeed }.map(\.address)
        let added = told.filter { !learned.contains($0) }
        let removed = learned.filter { !told.contains($0) }
        sentinels.removeAll { removed.contains($0.address) }
        sentinels += added.map { Sentinel(address: $0, isSeed: false) }
        return (added, removed)
    }

    /// The Sentinels that have named another master for so long that it should be told; each once, until it agrees.
    mutating func newDissenters(
        at now: NIODeadline
    ) -> [(sentinel: RedisEndpoint.Address, master: RedisEndpoint.Address)] {
        guard isMasterThere else { return [] }
        var dissenters: [(sentinel: RedisEndpoint.Address, master: RedisEndpoint.Address)] = []
        for index in sentinels.indices {
            guard case .names(let master, _)? = sentinels[index].answer else { continue }
            guard master != followed else {
                sentinels[index].dissent = nil
                continue
            }
            let dissent = sentinels[index].dissent ?? (now, false)
            let isDue = !dissent.isReported && now - dissent.since >= Self.dissentPatience
            if isDue { dissenters.append((sentinels[index].address, master)) }
            sentinels[index].dissent = (dissent.since, dissent.isReported || isDue)
        }
        return dissenters
    }
}
