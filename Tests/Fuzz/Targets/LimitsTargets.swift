import Foundation
import LimitsFile
import RateLimitCore
import RateLimitService

@testable import HTTPServer

/// The body of a call is JSON where it is read, by Foundation's word; all that it says is within its bounds; and what tells
/// of a call that was made is never refused for more than its user.
func fuzzCallBody(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let result = Result { () throws(RequestError) in try CallBody.read(bytes, under: fuzzedLimits) }
    guard case .success(let body) = result else { return }
    if let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(0), !text.hasPrefix("\u{feff}") {
        // Foundation refuses numbers that no Double holds, and halves of surrogate pairs; RFC 8259 refuses neither.
        let isJSON = (try? JSONSerialization.jsonObject(with: Data(bytes))) is [String: Any]
        try hold(isJSON || text.contains("\\u") || hasLargeNumber(text), "read \(body), and it is no JSON")
    }
    if let lease = body.lease { try hold(Lease(lease.text) == lease, "a lease that does not read back: \(lease)") }
    switch Result(catching: { () throws(RequestError) in try body.request(.check) }) {
    case .success(let request): try holdInBounds(request, of: body)
    case .failure(.missingUser): try hold(body.user == nil, "a user that is missing")
    case .failure(.invalidCall), .failure(.invalidCost), .failure(.invalidGroup):
        try hold(!body.problems.isEmpty || body.usage != nil, "refused for nothing")
    case .failure(let error): throw FuzzFinding(description: "refused with \(error)")
    }
    let usage = Result { () throws(RequestError) in try body.request(.usage(id: [])) }
    guard case .success(let request) = usage else { return try hold(body.user == nil, "usage is lost: \(usage)") }
    try holdInBounds(request, of: body)
    try hold(body.problems.allSatisfy { request.ignored.contains($0.ignored) }, "\(body.problems) are not told")
}

private func holdInBounds(_ request: CallRequest, of body: CallBody) throws(FuzzFinding) {
    try hold(request.user == body.user, "another user")
    try hold(Limit.costs.contains(request.cost), "a cost of \(request.cost)")
    for kind in TokenKind.allCases {
        try hold(request.tokens.map { TokenUsage.counts.contains($0.count(of: kind)) } ?? true, "\(kind) tokens")
    }
    try hold(request.costMicros.map(ModelPrice.spends.contains) ?? true, "\(request.costMicros ?? 0) micro-dollars")
    let said = request.attributes
    try hold(said.groups.count <= CallAttributes.maximumGroups, "\(said.groups.count) groups")
    try hold(Set(said.groups).count == said.groups.count, "a group twice")
    try hold(fuzzedLimits.rules.limits.labelNames.isSuperset(of: said.labels.keys), "labels that nobody looks at")
    let texts = [said.model ?? "", said.provider ?? ""] + said.labels.values
    try hold(texts.allSatisfy { $0.utf8.count <= CallAttributes.maximumKeptLength }, "a text that is not cut")
    let candidates = request.candidates.map(\.index)
    try hold(candidates == Set(candidates).sorted() && candidates.count <= CallCandidate.largestCount, "\(candidates)")
    try hold(request.operation.asks || candidates.isEmpty && !request.isDryRun, "tries what was done")
    try hold(request.ignored.count <= IgnoredMember.Name.allCases.count + 4, "\(request.ignored)")
}

/// Limits that look at labels, under which the groups are those a call names.
let fuzzedLimits: LimitsInForce = {
    let matches = ["route", "team", "a"].map { LabelMatch(.label($0), anyOf: [.exact("x")]) }
    let limit = LimitDefinition(
        name: .requests, scope: .user, unit: .requests, quota: 1, window: .sliding(milliseconds: 1_000),
        matches: matches)
    guard let set = try? LimitSet([limit]) else { preconditionFailure("one limit makes a set") }
    return LimitsInForce(rules: QuotaRules(limits: set, policy: .min), groupsAreGiven: true)
}()

/// A lease's text that is read is the one that is written.
func fuzzLease(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let lease = Lease(text) else { return }
    try hold(lease.text == text, "\(lease.text) for \(text)")
    try hold(Limit.costs.contains(lease.cost), "a cost of \(lease.cost)")
    let call = lease.attributes
    let again = CallAttributes(
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
        // Foundation takes a comma behind the last member as well, and halves of nothing.
        let isRefusedAsJSON =
            error.reason.hasPrefix("this is no JSON") || error.reason.contains("neither YAML nor JSON")
        guard isRefusedAsJSON, let text = String(validating: file, as: UTF8.self), !text.utf8.contains(0),
            !text.hasPrefix("\u{feff}"), !hasTrailingComma(text)
        else { return }
        let isJSON = (try? JSONSerialization.jsonObject(with: Data(file))) is [String: Any]
        try hold(!isJSON, "refused for \(error), and it is JSON")
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
            let start = kind.hasStart ? CalendarStart(day: 31) : .first
            let period = kind.period(atUnixSeconds: instant, in: zone, starting: start)
            try hold(period.start < period.nextStart, "\(kind) \(period)")
            if kind == .hour { try hold(period.start <= instant && instant < period.nextStart, "hour \(period)") }
        }
    }
}
