import Foundation
import LimitsFile
import RateLimitCore
import RateLimitService

@testable import Gateway

/// The body of a call is JSON where it is read, by Foundation's word, and all that it says is within its bounds.
func fuzzCallBody(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let result = Result { () throws(RequestError) in try CallBody.read(bytes) }
    guard case .success(let body) = result else { return }
    if let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(0), !text.hasPrefix("\u{feff}") {
        // Foundation refuses numbers that no Double holds, and halves of surrogate pairs; RFC 8259 refuses neither.
        let isJSON = (try? JSONSerialization.jsonObject(with: Data(bytes))) is [String: Any]
        try hold(isJSON || text.contains("\\u") || hasLargeNumber(text), "read \(body), and it is no JSON")
    }
    if let cost = body.cost { try hold(Limit.costs.contains(cost), "a cost of \(cost)") }
    for count in [body.input, body.output, body.cacheRead, body.cacheWrite, body.costMicros] {
        try hold(count.map(TokenUsage.counts.contains) ?? true, "a count of \(count ?? 0)")
    }
    if let lease = body.lease { try hold(Lease(lease.text) == lease, "a lease that does not read back: \(lease)") }
    switch Result(catching: { () throws(RequestError) in try body.request(.check) }) {
    case .success(let request): try hold(request.user == body.user, "another user")
    case .failure(.missingUser): try hold(body.user == nil, "a user that is missing")
    case .failure(.invalidCall): break
    case .failure(let error): throw FuzzFinding(description: "refused with \(error)")
    }
}

/// A lease's text that is read is the one that is written.
func fuzzLease(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let lease = Lease(text) else { return }
    try hold(lease.text == text.lowercased(), "\(lease.text) for \(text)")
    try hold(Limit.costs.contains(lease.cost), "a cost of \(lease.cost)")
    let call = lease.attributes
    let again = try? CallAttributes(
        model: call.model, provider: call.provider, labels: call.labels, groups: call.groups)
    try hold(again == call, "a call that says \(call)")
}

/// A limits file is read the same each time, or refused with a line that it has.
func fuzzLimitsFile(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let file = Array(bytes)
    func read() -> Result<LimitsFileContent, LimitsFileError> {
        Result { () throws(LimitsFileError) in
            // No time zone but UTC is there: the file system is none of the parser's.
            try LimitsFileContent(reading: file, timeZones: TimeZoneFolder(path: "/nonexistent"))
        }
    }
    let result = read()
    switch result {
    case .success(let content):
        try hold((try? read().get()) == content, "two readings differ")
        try hold(content.limits.limits.count <= LimitSet.maximumCount, "\(content.limits.limits.count) limits")
        let (usual, longest) = (content.leaseMilliseconds, content.longestLeaseMilliseconds)
        try hold(LimitsFileContent.leases.contains(usual) && LimitsFileContent.leases.contains(longest), "\(usual) ms")
        try hold(usual <= longest, "\(usual) ms above \(longest) ms")
    case .failure(let error):
        let lines = 1 + file.count { $0 == 0x0a || $0 == 0x0d }
        try hold((1...lines + 1).contains(error.line ?? 1), "line \(error.line ?? 0) of \(lines)")
        try hold(!error.reason.isEmpty, "no reason")
    }
}

/// A file of time zone rules gives periods that ascend and hold the instant they are asked for, or is refused.
func fuzzTimeZone(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let result = Result { try TimeZoneRules(name: "Fuzz/Zone", file: Array(bytes)) }
    guard case .success(let zone) = result else { return }
    for instant in [0, 86_399, 951_782_400, 1_700_000_000, 1_793_318_400, 4_102_444_800] {
        let offset = zone.utcOffset(atUnixSeconds: instant)
        try hold(abs(offset) < 200 * 3600, "an offset of \(offset) s")
        for kind in CalendarPeriodKind.allCases {
            let period = kind.period(atUnixSeconds: instant, in: zone)
            try hold(period.start < period.nextStart, "\(kind) \(period)")
        }
    }
}
