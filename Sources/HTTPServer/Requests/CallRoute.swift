import RateLimitService

/// The routes whose POST has what a gateway says of a call in its body (``CallBody``): one for each operation.
enum CallRoute: CaseIterable, Hashable {
    case check
    case reserve
    case settle
    case usage
    case renew
    case release

    /// Made once.
    static let all = allCases

    /// The one of a name in UTF-8; nil for any other.
    init?(_ name: UnsafeRawBufferPointer) {
        for route in Self.all where name.equals(route.name) {
            self = route
            return
        }
        return nil
    }

    /// Its path behind `/v1/`.
    var name: StaticString {
        switch self {
        case .check: "check"
        case .reserve: "reserve"
        case .settle: "settle"
        case .usage: "usage"
        case .renew: "renew"
        case .release: "release"
        }
    }

    /// What it takes and answers.
    var contract: RouteContract {
        switch self {
        case .check: .check
        case .reserve: .reserve
        case .settle: .settle
        case .usage: .usage
        case .renew: .renew
        case .release: .release
        }
    }

    /// What a body asks for here.
    func request(_ body: CallBody, _ leases: LeaseTimes) throws(RequestError) -> CallRequest {
        switch self {
        case .check: try body.request(CallRequest.Operation(checkWithID: body.requestID))
        case .reserve: try body.request(.reserve(milliseconds: try body.timeToLive(leases)))
        case .renew: try body.request(.renew(try body.givenLease, milliseconds: try body.timeToLive(leases)))
        case .settle: try body.request(.settle(try body.givenLease))
        case .release: try body.request(.release(try body.givenLease))
        case .usage:
            try body.request(body.isRefund ? .refund(id: body.requestID ?? []) : .usage(id: body.requestID ?? []))
        }
    }
}

extension CallBody {
    fileprivate var givenLease: Lease {
        get throws(RequestError) {
            if let lease { return lease }
            throw problems.first { $0.ignored.name == .lease }?.refusal ?? .invalidCall("lease is missing")
        }
    }

    /// How long a lease is to live, in milliseconds.
    fileprivate func timeToLive(_ leases: LeaseTimes) throws(RequestError) -> Int {
        guard let seconds = timeToLiveSeconds else { return leases.usualMilliseconds }
        guard seconds * 1000 <= leases.longestMilliseconds else {
            throw .invalidCall(
                "ttl is above the max_ttl of leases: accepted are 1 to \(leases.longestMilliseconds / 1000) seconds")
        }
        return seconds * 1000
    }
}
