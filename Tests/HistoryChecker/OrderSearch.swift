/// Looks for an order of a user's claims, each at an instant of its own interval, under which all of them are true.
///
/// A depth-first search: the next claim in the order is one that no other is certainly before. The numbers in the
/// answers leave mostly one choice. A charge that may not have happened is put in only where nothing else goes on. What
/// leads nowhere is remembered, so that it is tried once.
struct OrderSearch {
    enum Result {
        /// The claims in order, each with its instant.
        case found([(claim: Int, instant: Int)])
        /// No order has instants.
        case impossible
        /// Not known: too many orders to try.
        case exhausted
    }

    private struct Frame {
        var candidates: [Int]
        var next = 0
        var hasOptional = false
        /// The step that led here.
        var step: WindowOrder.Step?
        /// How often an earlier claim had been moved when it was reached.
        var movesBack = 0
    }

    private let claims: [Claim]
    private let mandatory: [Int]
    private let optional: [Int]
    /// The latest end among the optional claims up to each: those before the first that reaches an instant are over.
    private let latestEnds: [Int]
    private var optionalDone: [Int] = []
    private var isDone: [Bool]
    private var order: WindowOrder
    private var firstOpen = 0
    private var left: Int
    private var deadEnds: Set<[Int]> = []

    /// - Parameter claims: in the order of their starts.
    init(_ claims: [Claim], windowMicroseconds: Int) {
        self.claims = claims
        mandatory = claims.indices.filter { claims[$0].isCertain }
        optional = claims.indices.filter { !claims[$0].isCertain }
        latestEnds = optional.reduce(into: []) { $0.append(max($0.last ?? Int.min, claims[$1].end)) }
        isDone = Array(repeating: false, count: claims.count)
        order = WindowOrder(claims, windowMicroseconds: windowMicroseconds)
        left = mandatory.count
    }

    /// - Parameter steps: how many steps to try at most.
    mutating func run(steps: Int) -> Result {
        var frames = [Frame(candidates: certainCandidates())]
        var furthest = 0
        var stepsSinceFurthest = 0
        var hasJumped = false
        for _ in 0..<steps {
            guard left > 0 else { return .found(order.order.map { ($0, order.instants[$0]) }) }
            guard !order.isBoundReached else { return .exhausted }
            stepsSinceFurthest += 1
            if order.order.count > furthest {
                furthest = order.order.count
                stepsSinceFurthest = 0
                order.forgetBlame()
            } else if stepsSinceFurthest > (hasJumped ? Self.patience : Self.firstPatience) {
                hasJumped = hasJumped || order.blamedPlace != nil
                stepsSinceFurthest = 0
                jump(&frames)
            }
            if let step = nextStep(&frames[frames.count - 1]) {
                if deadEnds.isEmpty || !deadEnds.contains(state) {
                    frames.append(Frame(candidates: certainCandidates(), step: step, movesBack: order.movesBack))
                } else {
                    takeBack(step)
                }
            } else if !leave(&frames) {
                // What was jumped over has not been tried.
                return hasJumped ? .exhausted : .impossible
            }
        }
        return .exhausted
    }

    /// How many steps without getting further are tried one by one, before the first jump and between jumps.
    private static let firstPatience = 5_000
    private static let patience = 500

    /// Goes back to the choice that stands in the way: a wrong one may show only a window later, behind hundreds of
    /// others that have nothing to do with it. What it leaves untried makes "impossible" unprovable from then on.
    private mutating func jump(_ frames: inout [Frame]) {
        guard let place = order.blamedPlace else { return }
        order.forgetBlame()
        while frames.count > place + 1, let step = frames.removeLast().step { takeBack(step) }
    }

    /// Goes back to where another choice may be left; false where there is none.
    private mutating func leave(_ frames: inout [Frame]) -> Bool {
        guard let frame = frames.popLast(), let step = frame.step else { return false }
        // Where an earlier claim had to be moved, another way to the same state may be able to.
        if frame.movesBack == order.movesBack { deadEnds.insert(state) }
        takeBack(step)
        return true
    }

    private mutating func nextStep(_ frame: inout Frame) -> WindowOrder.Step? {
        while true {
            while frame.next < frame.candidates.count {
                let claim = frame.candidates[frame.next]
                frame.next += 1
                guard let step = order.append(claim) else { continue }
                isDone[claim] = true
                if claims[claim].isCertain {
                    left -= 1
                    while firstOpen < mandatory.count, isDone[mandatory[firstOpen]] { firstOpen += 1 }
                } else {
                    optionalDone.append(claim)
                }
                return step
            }
            guard !frame.hasOptional else { return nil }
            frame.hasOptional = true
            frame.candidates += optionalCandidates()
        }
    }

    private mutating func takeBack(_ step: WindowOrder.Step) {
        order.undo(step)
        isDone[step.claim] = false
        guard claims[step.claim].isCertain else {
            optionalDone.removeLast()
            return
        }
        left += 1
        // Places stand in the order of starts, as the claims do.
        firstOpen = min(firstOpen, mandatory.partitioningIndex { $0 >= step.claim })
    }

    /// What may come next among the claims that are certain: whatever starts before each other one's end.
    private func certainCandidates() -> [Int] {
        let (open, latest) = openClaims()
        return open.filter { claims[$0].start <= latest }.sorted { (claims[$0].end, $0) < (claims[$1].end, $1) }
    }

    /// The open certain claims that overlap, and the earliest end among all that are open.
    private func openClaims() -> (open: [Int], latest: Int) {
        var latest = Int.max
        var open: [Int] = []
        var place = firstOpen
        while place < mandatory.count, claims[mandatory[place]].start <= latest {
            let claim = mandatory[place]
            place += 1
            guard !isDone[claim] else { continue }
            open.append(claim)
            latest = min(latest, claims[claim].end)
        }
        return (open, latest)
    }

    /// What may have happened next; of those that are alike from here on, one.
    private func optionalCandidates() -> [Int] {
        let latest = openClaims().latest
        var alike: Set<Alike> = []
        return optional[latestEnds.partitioningIndex { $0 >= order.now }...].prefix { claims[$0].start <= latest }
            .filter { place in
                let claim = claims[place]
                guard !isDone[place], claim.end >= order.now else { return false }
                let kind = Alike(
                    cost: claim.cost, forgets: claim.forgets, start: max(claim.start, order.now), end: claim.end
                )
                return alike.insert(kind).inserted
            }
    }

    /// What matters of a claim that only may have happened.
    private struct Alike: Hashable {
        var cost: Int
        var forgets: Bool
        var start: Int
        var end: Int
    }

    /// All that decides what can follow: what is done, and what the window holds.
    private var state: [Int] {
        let ahead = mandatory[firstOpen...].prefix { claims[$0].start <= order.now || isDone[$0] }
        let done = ahead.filter { isDone[$0] } + optionalDone.sorted()
        return order.state + [-1, firstOpen] + done
    }
}
