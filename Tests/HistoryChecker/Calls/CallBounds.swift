/// What is impossible in a history of calls by counting alone, whatever their order.
///
/// For each answer and each window it puts the least and the most that can have been there. It is never wrong; what it
/// does not find may still be impossible, as ``CallOrderSearch`` shows for small histories.
package struct CallBounds {
    package enum Offence: Hashable, Sendable {
        /// Admitted although a window certainly had no room for it, or for all that were admitted at about that time.
        case over
        /// Denied by a limit whose window cannot have been so full.
        case under
        /// More or less used than can have been.
        case miscounted
        /// One lease or request id was charged or given back twice.
        case endedTwice
        /// Taken for one that had been dealt with before, though nothing had.
        case neverEnded
        /// Said to have no lease while it had one.
        case lapsedEarly
        /// Renewed or released when its lease was gone.
        case outlived
    }

    /// What was found, each at the operation (by its place) where it shows, and the window, where it is about one.
    package private(set) var offences: [(offence: Offence, operation: Int, window: Int?)] = []

    private let operations: [CallOperation]
    /// The share of each operation, or of its lease, in the window that is looked at.
    private var owners: [Int: Int] = [:]
    private var shares = SharesInWindow([])

    /// - Parameters:
    ///   - operations: with intervals widened by the clocks' tolerance.
    ///   - window: the only window to look at; nil for all.
    init(_ operations: [CallOperation], _ contract: CallContract, only window: Int? = nil) {
        self.operations = operations
        let forgettings = operations.filter { $0.forgets && $0.mayAct }
        var named: [String: [Int]] = [:]
        for (index, operation) in operations.enumerated() {
            // A reservation of which no answer came has a lease that nobody knows.
            let id = operation.id ?? (operation.lifeMicroseconds == nil ? nil : "unknown \(index)")
            if let id { named[id, default: []].append(index) }
        }
        let stories = named.values.map { indices in
            (story: LeaseStory(indices.map { operations[$0] }, forgettings: forgettings), indices: indices)
        }
        for (story, indices) in stories {
            offences += story.offences(operations, indices: indices).map { ($0.offence, $0.operation, nil) }
        }
        for window in window.map({ [$0] }) ?? Array(contract.windows.indices) {
            lookAt(window, contract.microseconds(window), Forgettings(forgettings, of: window), stories)
        }
        offences.sort { ($0.operation, $0.window ?? -1) < ($1.operation, $1.window ?? -1) }
    }

    private mutating func lookAt(
        _ window: Int, _ microseconds: Int, _ forgettings: Forgettings,
        _ stories: [(story: LeaseStory, indices: [Int])]
    ) {
        var made: [(share: WindowShare, owners: [Int])] = []
        for (story, indices) in stories {
            guard let share = WindowShare(story, in: window, forgettings, microseconds) else { continue }
            made.append((share, indices))
        }
        for (index, operation) in operations.enumerated()
        where operation.id == nil && operation.lifeMicroseconds == nil && !operation.forgets {
            guard let share = WindowShare(operation, in: window, forgettings, microseconds) else { continue }
            made.append((share, [index]))
        }
        made.sort { $0.share.begin < $1.share.begin }
        owners = [:]
        for (place, entry) in made.enumerated() { for owner in entry.owners { owners[owner] = place } }
        shares = SharesInWindow(made.map(\.share))
        var admissions: [Admission] = []
        for (index, operation) in operations.enumerated() {
            guard let term = operation.term(in: window) else { continue }
            hold(index, operation, term)
            guard operation.asks, operation.outcome == .done, let share = owners[index],
                let quota = term.standing?.quota
            else { continue }
            admissions.append(
                Admission(
                    operation: index, share: share, start: operation.startMicroseconds,
                    end: operation.endMicroseconds, quota: quota))
        }
        for (offender, _) in Crowd(admissions, shares).tooMany { offences.append((.over, offender, window)) }
    }

    /// Holds what an answer says of a window against what can have been there.
    private mutating func hold(_ index: Int, _ operation: CallOperation, _ term: CallOperation.Term) {
        guard let standing = term.standing, operation.outcome != .unknown else { return }
        let acts = operation.outcome == .done && operation.action != .look
        // What it has itself there now stands in place of all that its lease had.
        let place = acts ? owners[index] : nil
        let start = operation.startMicroseconds
        let end = operation.endMicroseconds
        let most = shares.most(start, end, except: place)
        let least = shares.least(start, end, except: place)
        let own = acts ? term.cost : 0
        if standing.used < least + own || standing.used > most + own {
            offences.append((.miscounted, index, term.window))
        }
        guard operation.asks else { return }
        if standing.isDenied {
            if min(most, standing.used) + term.need <= standing.quota { offences.append((.under, index, term.window)) }
        } else if max(least, standing.used - own) + term.need > standing.quota {
            offences.append((.over, index, term.window))
        }
    }
}

/// The shares in one window, by when they may begin.
struct SharesInWindow {
    let shares: [WindowShare]
    private let begins: [Int]
    private let longest: Int

    /// - Parameter shares: in the order of their beginnings.
    init(_ shares: [WindowShare]) {
        self.shares = shares
        begins = shares.map(\.begin)
        longest = shares.map { $0.end == .max ? .max : $0.end - $0.begin }.max() ?? 0
    }

    /// The places of those that can be there at some instant from `start` to `end`.
    func places(_ start: Int, _ end: Int) -> Range<Int> {
        let low = longest == .max ? 0 : begins.partitioningIndex { $0 >= start - longest }
        return low..<max(low, begins.partitioningIndex { $0 > end })
    }

    func most(_ start: Int, _ end: Int, except place: Int?) -> Int {
        var sum = 0
        for other in places(start, end) where other != place { sum += shares[other].most(start, end) }
        return sum
    }

    func least(_ start: Int, _ end: Int, except place: Int?) -> Int {
        var sum = 0
        for other in places(start, end) where other != place { sum += shares[other].least(start, end) }
        return sum
    }
}

/// An admission into one window.
struct Admission {
    var operation: Int
    var share: Int
    var start: Int
    var end: Int
    var quota: Int
}

/// Admissions at about the same time, of which one was the last: that one had all others in its window.
struct Crowd {
    private let admissions: [Admission]
    private let shares: SharesInWindow
    /// So many admissions after the first are looked at: those that come later have it certainly before them.
    private static let most = 16

    init(_ admissions: [Admission], _ shares: SharesInWindow) {
        self.admissions = admissions.sorted { $0.start < $1.start }
        self.shares = shares
    }

    /// The admissions with which a crowd begins that was too many, and the instant by which it was there.
    var tooMany: [(operation: Int, end: Int)] {
        admissions.indices.compactMap { first in
            excess(from: first).map { (admissions[first].operation, $0) }
        }
    }

    private func excess(from first: Int) -> Int? {
        let start = admissions[first].start
        let crowd = admissions[first..<min(first + Self.most, admissions.count)].sorted { $0.end < $1.end }
        var quota = 0
        for (count, last) in crowd.enumerated() {
            quota = max(quota, last.quota)
            guard count > 0 else { continue }
            let members = crowd[...count]
            var sum = 0
            for member in members { sum += shares.shares[member.share].least(member.end + 1, last.end) }
            let known = Set(members.map(\.share))
            for place in shares.places(start, last.end) where !known.contains(place) {
                sum += shares.shares[place].least(start, last.end)
            }
            if sum > quota { return last.end }
        }
        return nil
    }
}
