import RateLimitCore
import RateLimitService

/// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers, version 11.
///
/// The draft registers requests and concurrent requests as units, and takes a policy without a unit for one of requests.
/// So limits of tokens and spend are not announced here at all: the body tells how they stand.
enum RateLimitFields {
    typealias Header = (name: String, value: String)

    /// One limit as an item of `RateLimit-Policy`.
    ///
    /// - Parameter unit: nil for requests, which the draft takes for granted.
    static func policy(_ name: String, quota: Int, unit: String?, windowSeconds: Int?) -> String {
        let unit = unit.map { ";qu=\"\($0)\"" } ?? ""
        let window = windowSeconds.map { ";w=\($0)" } ?? ""
        return "\"\(name)\";q=\(quota)\(unit)\(window)"
    }

    /// An item of `RateLimit` up to the number remaining.
    static func stateStart(_ name: String) -> String { "\"\(name)\";r=" }

    /// Both fields of the answer to a call; `RateLimit` is about the announced limit of which the least share is left.
    ///
    /// A denial speaks of the limit that denied; where that one is not announced, the answer has no `RateLimit`, because
    /// what is left of the others would contradict its Retry-After.
    ///
    /// - Parameter wait: how many seconds a denial lasts; nil where no wait helps, and in what is no denial.
    static func headers(of details: OutcomeDetails, isDenied: Bool, wait: Int?) -> [Header] {
        let decider = details.decider.map { details.standings[$0] }
        let announced = announced(details.standings, decider)
        guard !announced.isEmpty else { return [] }
        var headers: [Header] = [("RateLimit-Policy", announced.map(\.policy).joined(separator: ", "))]
        let binding = isDenied ? decider : announced.min { $0.hasLessLeft(than: $1) }
        if let binding, binding.isAnnounced {
            let span = wait ?? binding.secondsToPeriodEnd
            let time = span.map { ";t=\($0)" } ?? ""
            headers.append(("RateLimit", "\(stateStart(binding.limit.name.text))\(binding.remaining ?? 0)\(time)"))
        }
        return headers
    }

    /// One standing for each limit that is announced: the one that decided, else the one with the least share left. A
    /// limit of groups has several where the user is in several.
    private static func announced(_ standings: [LimitStanding], _ decider: LimitStanding?) -> [LimitStanding] {
        var announced: [LimitStanding] = []
        for standing in standings where standing.isAnnounced {
            guard let place = announced.firstIndex(where: { $0.limit.name == standing.limit.name }) else {
                announced.append(standing)
                continue
            }
            let other = announced[place]
            if other != decider, standing == decider || standing.hasLessLeft(than: other) {
                announced[place] = standing
            }
        }
        return announced
    }
}

extension LimitStanding {
    fileprivate var isAnnounced: Bool { !limit.isShadow && quota.amount != nil && limit.unit.isAnnounced }

    fileprivate var policy: String {
        RateLimitFields.policy(
            limit.name.text, quota: quota.amount ?? 0, unit: limit.unit == .concurrency ? "concurrent-requests" : nil,
            windowSeconds: windowSeconds)
    }

    /// How long no more than what remains can be used, where the window's end says it. A sliding window frees its next
    /// part at a time that Redis does not tell.
    fileprivate var secondsToPeriodEnd: Int? {
        guard case .calendar? = limit.window, state.resetAfterMilliseconds > 0 else { return nil }
        return wholeSeconds(state.resetAfterMilliseconds)
    }

    /// The window's length in seconds; nil for concurrency.
    private var windowSeconds: Int? {
        switch limit.window {
        case nil: nil
        case .sliding(let milliseconds): milliseconds / 1000
        case .calendar: period.map { $0.nextStart - $0.start }
        }
    }
}

extension LimitUnit {
    /// Whether the draft has a unit for it.
    fileprivate var isAnnounced: Bool {
        switch self {
        case .requests, .concurrency: true
        case .tokens, .spend: false
        }
    }
}
