/// An order of a user's claims as far as it has been put together, and what the window holds at its end.
///
/// Each claim has the earliest instant at which it can stand in this order. A claim that is put behind may move those of
/// earlier ones: "it was still in the window" says that it was charged late enough. A step is refused where a claim would
/// have to stand behind the end of its interval; so there are always instants under which the order is true, and they
/// are known. Each step can be taken back.
struct WindowOrder {
    /// What taking a step back needs.
    struct Step {
        var claim: Int
        fileprivate var expired: Int
        fileprivate var live: Int
        fileprivate var moves: Int
        fileprivate var distances: Int
    }

    private let claims: [Claim]
    private let window: Int
    /// The claims in order, and the place of each in it.
    private(set) var order: [Int] = []
    private var places: [Int]
    /// The charges in order; the first ``expired`` of them have left the window or were forgotten.
    private var charges: [Int] = []
    private var expired = 0
    private var live = 0
    /// The earliest instant of each claim in the order.
    private(set) var instants: [Int]
    /// "`later` is at least `distance` microseconds after": for each claim, who depends on it.
    private var dependents: [[(later: Int, distance: Int)]]
    private var distances: [Int] = []
    private var moves: [(claim: Int, instant: Int)] = []
    /// How often a claim already in the order has been moved. What follows then rests on more than ``state``.
    private(set) var movesBack = 0
    /// The earliest place of a claim that a refused step found in its way, since it was last forgotten.
    private(set) var blamedPlace: Int?
    /// Moving on was given up at a bound: that a step was refused proves nothing any more.
    private(set) var isBoundReached = false

    init(_ claims: [Claim], windowMicroseconds: Int) {
        self.claims = claims
        window = windowMicroseconds
        places = Array(repeating: -1, count: claims.count)
        instants = claims.map(\.start)
        dependents = Array(repeating: [], count: claims.count)
    }

    /// The instant of the last claim.
    var now: Int { order.last.map { instants[$0] } ?? Int.min }

    /// What decides which steps can follow, besides which claims are left.
    var state: [Int] { [now] + charges[expired...].flatMap { [$0, instants[$0]] } }

    /// Puts a claim at the end of the order; nil where that is not possible.
    mutating func append(_ index: Int) -> Step? {
        let step = Step(claim: index, expired: expired, live: live, moves: moves.count, distances: distances.count)
        let before = now
        places[index] = order.count
        order.append(index)
        if move(index, to: before), take(index) { return step }
        undo(step)
        return nil
    }

    mutating func forgetBlame() { blamedPlace = nil }

    /// Takes the last step back.
    mutating func undo(_ step: Step) {
        if charges.last == step.claim { charges.removeLast() }
        order.removeLast()
        places[step.claim] = -1
        expired = step.expired
        live = step.live
        while moves.count > step.moves, let move = moves.popLast() { instants[move.claim] = move.instant }
        while distances.count > step.distances, let claim = distances.popLast() { dependents[claim].removeLast() }
    }

    private mutating func take(_ index: Int) -> Bool {
        let claim = claims[index]
        let own = claim.charges ? claim.cost : 0
        if claim.forgets {
            expired = charges.count
            live = 0
            return true
        }
        expireWhatMust()
        // What has to have left: down to the quota for an admission, down to what is used for whoever was told.
        var most = claim.fitsQuota.map { $0 - own } ?? Int.max
        if let used = claim.used { most = min(most, used.upperBound == Int.max ? Int.max : used.upperBound - own) }
        while live > most { guard expireNext(for: index) else { return false } }
        // What cannot have left: the numbers say that it is still there.
        if let used = claim.used {
            guard live + own >= used.lowerBound, holds(used.lowerBound - own, for: index) else { return false }
        }
        if let quota = claim.exceedsQuota, claim.cost <= quota {
            guard live + claim.cost > quota, isFull(for: index, quota: quota) else { return false }
        }
        if claim.charges {
            charges.append(index)
            live += claim.cost
            return claim.resetSeconds.map { $0 == (window + 999_999) / 1_000_000 } ?? true
        }
        guard let reset = claim.resetSeconds, claim.used != nil else { return true }
        guard live > 0, let newest = charges.last else { return reset == 0 }
        return reset > 0 && leaves(newest, inSeconds: reset, for: index)
    }

    /// Lets go what has certainly left by now.
    private mutating func expireWhatMust() {
        while expired < charges.count, claims[charges[expired]].end + window <= now { expireOldest() }
    }

    private mutating func expireOldest() {
        live -= claims[charges[expired]].cost
        expired += 1
    }

    /// Lets the oldest go because this claim says that it had; false where it cannot have.
    private mutating func expireNext(for index: Int) -> Bool {
        guard keep(index, atLeast: window, after: charges[expired]) else { return false }
        expireOldest()
        expireWhatMust()
        return true
    }

    /// Whether so much is still in the window as the claim says: then the charge that makes it so much had not left.
    private mutating func holds(_ least: Int, for index: Int) -> Bool {
        guard least > 0 else { return true }
        var left = live
        var needed = expired
        while left - claims[charges[needed]].cost >= least {
            left -= claims[charges[needed]].cost
            needed += 1
        }
        return isStillIn(charges[needed], for: index)
    }

    /// Whether the window was full, and as long as it said: until the charge goes with which the check would have fit.
    private mutating func isFull(for index: Int, quota: Int) -> Bool {
        let claim = claims[index]
        var left = live
        var last = expired
        while left - claims[charges[last]].cost + claim.cost > quota {
            left -= claims[charges[last]].cost
            last += 1
        }
        guard let retry = claim.retrySeconds else { return isStillIn(charges[last], for: index) }
        return leaves(charges[last], inSeconds: retry, for: index)
    }

    private mutating func isStillIn(_ charge: Int, for index: Int) -> Bool {
        keep(charge, atLeast: 1 - window, after: index)
    }

    /// Whether a charge can leave so many whole seconds, rounded up, after the claim's instant.
    private mutating func leaves(_ charge: Int, inSeconds seconds: Int, for index: Int) -> Bool {
        let latest = seconds * 1_000_000 - window
        return keep(index, atLeast: -latest, after: charge) && keep(charge, atLeast: latest - 999_999, after: index)
    }

    /// Holds two instants apart, from now on; false where they cannot be.
    private mutating func keep(_ later: Int, atLeast distance: Int, after earlier: Int) -> Bool {
        dependents[earlier].append((later, distance))
        distances.append(earlier)
        if move(later, to: instants[earlier] + distance) { return true }
        let place = places[later] == order.count - 1 ? places[earlier] : places[later]
        blamedPlace = min(blamedPlace ?? place, place)
        return false
    }

    /// Moves a claim to an instant or later, and with it whatever depends on it; false where one would stand behind the
    /// end of its interval.
    private mutating func move(_ claim: Int, to instant: Int) -> Bool {
        var open = [(claim: claim, instant: instant)]
        var count = 0
        while let (claim, instant) = open.popLast() {
            guard instants[claim] < instant else { continue }
            if places[claim] < order.count - 1 { movesBack += 1 }
            count += 1
            guard instant <= claims[claim].end, count < 100_000 else {
                isBoundReached = isBoundReached || count >= 100_000
                return false
            }
            moves.append((claim, instants[claim]))
            instants[claim] = instant
            if places[claim] + 1 < order.count { open.append((order[places[claim] + 1], instant)) }
            for dependent in dependents[claim] { open.append((dependent.later, instant + dependent.distance)) }
        }
        return true
    }
}
