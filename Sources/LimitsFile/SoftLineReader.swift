import RateLimitCore

/// Reads what a limit does about calls above its quota, `mode:`, and its `soft_quota:`; and refuses what contradicts that.
struct SoftLineReader {
    let map: MapReader
    let unit: LimitUnit
    let quota: Int?

    func mode() throws(LimitsFileError) -> LimitMode {
        let mode: LimitMode = try map.word("mode", standard: .enforce)
        guard mode == .soft, let node = try map.value("mode") else { return mode }
        func refusal(_ reason: String, _ line: Int) -> LimitsFileError {
            LimitsFileError(line: line, "mode of \(map.what) is soft, which denies nobody, and \(reason)")
        }
        if unit == .concurrency {
            throw refusal(
                "its unit is concurrency, of which no call is charged; count requests, or use shadow", node.line)
        }
        if quota == 0, let quota = try map.value("quota") {
            throw refusal("its quota is 0, which blocks; give another quota, or none", quota.line)
        }
        if let missing = try map.value("missing"), missing.content == .text(MissingValue.deny.rawValue) {
            throw refusal("its missing is deny; remove one of them", missing.line)
        }
        if let failure = try map.value("on_redis_failure"), failure.content != .text(FailureMode.open.rawValue) {
            throw refusal("its on_redis_failure is \(failure.kind); remove one of them", failure.line)
        }
        return mode
    }

    func softQuota(beside mode: LimitMode) throws(LimitsFileError) -> Int? {
        guard let node = try map.value("soft_quota") else { return nil }
        let range = 1...LimitDefinition.quotas.upperBound
        let softQuota: Int
        if unit == .spend {
            let accepted = ValueText.money.replacing("from 0", with: "from 1")
            softQuota = try map.read(node, "soft_quota", accepted: accepted) { ValueText.micros($0, in: range) }
        } else {
            softQuota = try map.read(
                node, "soft_quota", accepted: "whole numbers from 1 to \(grouped(range.upperBound)), below quota"
            ) { ValueText.wholeNumber($0, in: range) }
        }
        func refusal(_ reason: String) -> LimitsFileError {
            LimitsFileError(line: node.line, "\(map.what) has soft_quota, and \(reason)")
        }
        if unit == .concurrency { throw refusal("its unit is concurrency, of which no call is charged; remove it") }
        if mode == .soft { throw refusal("its mode is soft, which makes quota the soft line; remove one of them") }
        guard let quota else {
            throw refusal("no quota that it is below; for a soft line alone give mode: soft and quota")
        }
        guard softQuota < quota else {
            throw refusal("\(unit.text(of: softQuota)) is not below quota, which is \(unit.text(of: quota))")
        }
        return softQuota
    }
}
