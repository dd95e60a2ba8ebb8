import RateLimitCore

@testable import RateLimitService

/// How a limit counts under which a model and the script are put side by side.
enum ModelWindow: Hashable, Sendable {
    case sliding(milliseconds: Int)
    /// Periods of one length, of which one begins so many seconds after 1970: to the script a day, a week and a month of
    /// any time zone are no more than that.
    case calendar(seconds: Int, offset: Int = 0)
    case concurrency
    case lifetime(idleMilliseconds: Int)

    static let day = ModelWindow.calendar(seconds: 86_400)

    /// The period that holds an instant.
    static func period(of seconds: Int, offset: Int, at clockMicroseconds: Int) -> Range<Int> {
        let start = (clockMicroseconds / 1_000_000 - offset) / seconds * seconds + offset
        return start..<start + seconds
    }

    /// When a charge of an instant has left the window, in milliseconds.
    func ends(ofChargeAt microseconds: Int) -> Int {
        switch self {
        case .sliding(let milliseconds), .lifetime(let milliseconds): (microseconds + milliseconds * 1000 + 999) / 1000
        case .calendar(let seconds, let offset):
            Self.period(of: seconds, offset: offset, at: microseconds).upperBound * 1000
        case .concurrency: 0
        }
    }

    /// As it is put to the script by a daemon whose clock is Redis's.
    func kind(clockMicroseconds: Int) -> LimitKind {
        switch self {
        case .sliding(let milliseconds): return .sliding(windowMilliseconds: milliseconds)
        case .concurrency: return .concurrency
        case .lifetime(let milliseconds): return .lifetime(idleMilliseconds: milliseconds)
        case .calendar(let seconds, let offset):
            let start = Self.period(of: seconds, offset: offset, at: clockMicroseconds).lowerBound
            return .calendar(
                CalendarBoundaries(
                    previousStart: start - seconds, start: start, nextStart: start + seconds,
                    afterNextStart: start + 2 * seconds))
        }
    }
}

/// A limit under which a model and the script are put side by side.
struct ModelLimit: Sendable {
    var id: UInt32
    /// 0 is the user, 1 the group.
    var subject: Int
    var window: ModelWindow
    var isShadow = false
    var quota: Int
    var needsRoom = false
    /// Shares of the quota in thousandths, ascending, of which it is told when they are crossed.
    var shares: [Int] = []

    /// How much each of these is.
    var thresholds: [Int] { quota == 0 ? [] : shares.map { (quota * $0 + 999) / 1000 } }

    var isConcurrency: Bool { window == .concurrency }
}
