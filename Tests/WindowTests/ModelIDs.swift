/// Which ids have been dealt with: in two sets, of which the older is forgotten when the newer has been filled for as
/// long as an id is remembered.
struct ModelIDs {
    enum ID: Hashable { case usage(UInt8), check(UInt8), lease(UInt8), refund(UInt8) }

    /// Whether the sets expire, when nothing has come to them for that long.
    let expires: Bool
    private var newer: Set<ID> = []
    private var older: Set<ID> = []
    private var since: Int?
    private var newerEnds = 0
    private var olderEnds = 0

    init(expires: Bool) { self.expires = expires }

    /// Whether an id has been dealt with; if not, it has been from now on, unless it `looks`.
    mutating func note(_ id: ID, looks: Bool = false, for milliseconds: Int, at now: Int) -> Bool {
        if expires, newerEnds <= now { (newer, since) = ([], nil) }
        if expires, olderEnds <= now { older = [] }
        if newer.contains(id) || older.contains(id) { return true }
        if looks { return false }
        if let begun = since, begun + milliseconds <= now {
            (older, olderEnds) = (newer, now + milliseconds)
            (newer, since) = ([], nil)
        }
        since = since ?? now
        newer.insert(id)
        newerEnds = now + milliseconds
        return false
    }
}
