import RateLimitCore
import Testing

@testable import LimitsFile

@Suite("A soft limit of the file")
struct SoftLineTests {
    private func file(_ lines: [String]) -> String {
        "limits:\n  - " + (["name: a"] + lines).joined(separator: "\n    ") + "\n"
    }

    @Test("is one in mode soft, or one that has a soft quota below its quota")
    func modes() throws {
        let soft = try read(file(["per: user", "unit: requests", "window: 1h", "quota: 5", "mode: soft"]))
        #expect(soft.limits.limits[0].mode == .soft && soft.limits.limits[0].softQuota == nil)
        // Without a quota it is one for whom a budget gives one.
        let free = try read(file(["per: user", "unit: requests", "window: 1h", "mode: soft"]))
        #expect(free.limits.limits[0].mode == .soft && free.limits.limits[0].quota == nil)
        let two = try read(
            file([
                "per: group", "unit: spend", "window: 1d", "quota: $50", "soft_quota: $40.5",
                "on_redis_failure: closed",
            ]))
        #expect(two.limits.limits[0].mode == .enforce && two.limits.limits[0].softQuota == 40_500_000)
        #expect(two.limits.limits[0].quota == 50_000_000)
        let shadow = try read(
            file(["per: user", "unit: tokens", "window: 1d", "quota: 50", "soft_quota: 1", "mode: shadow"]))
        #expect(shadow.limits.limits[0].isShadow && shadow.limits.limits[0].softQuota == 1)
    }

    /// The lines of a limit without its name, with semicolons; and what an operator reads.
    private static let refusals: [(lines: String, message: String)] = [
        (
            "per: user; unit: requests; window: 1h; quota: 0; mode: soft",
            "line 6: mode of limit a is soft, which denies nobody, and its quota is 0, which blocks; give "
                + "another quota, or none"
        ),
        (
            "per: [user, label:s]; unit: requests; window: 1h; mode: soft; missing: deny",
            "line 7: mode of limit a is soft, which denies nobody, and its missing is deny; remove one of "
                + "them"
        ),
        (
            "per: user; unit: requests; window: 1h; mode: soft; on_redis_failure: closed",
            "line 7: mode of limit a is soft, which denies nobody, and its on_redis_failure is closed; "
                + "remove one of them"
        ),
        (
            "per: user; unit: requests; window: 1h; mode: soft; on_redis_failure: local",
            "line 7: mode of limit a is soft, which denies nobody, and its on_redis_failure is local; "
                + "remove one of them"
        ),
        (
            "per: user; unit: concurrency; mode: soft",
            "line 5: mode of limit a is soft, which denies nobody, and its unit is concurrency, of which no "
                + "call is charged; count requests, or use shadow"
        ),
        (
            "per: user; unit: concurrency; quota: 5; soft_quota: 4",
            "line 6: limit a has soft_quota, and its unit is concurrency, of which no call is charged; "
                + "remove it"
        ),
        (
            "per: user; unit: requests; window: 1h; quota: 5; mode: soft; soft_quota: 4",
            "line 8: limit a has soft_quota, and its mode is soft, which makes quota the soft line; remove "
                + "one of them"
        ),
        (
            "per: user; unit: requests; window: 1h; soft_quota: 4",
            "line 6: limit a has soft_quota, and no quota that it is below; for a soft line alone give "
                + "mode: soft and quota"
        ),
        (
            "per: user; unit: requests; window: 1h; quota: 5; soft_quota: 5",
            "line 7: limit a has soft_quota, and 5 requests is not below quota, which is 5 requests"
        ),
        (
            "per: user; unit: spend; window: 1h; soft_quota: $6; quota: $5",
            "line 6: limit a has soft_quota, and $6.00 is not below quota, which is $5.00"
        ),
        (
            "per: user; unit: requests; window: 1h; quota: 5; soft_quota: 0",
            "line 7: soft_quota of limit a is 0: accepted are whole numbers from 1 to 1,000,000,000,000, "
                + "below quota"
        ),
        (
            "per: user; unit: spend; window: 1h; quota: $5; soft_quota: $0",
            "line 7: soft_quota of limit a is $0: accepted are whole micro-dollars from 1 to "
                + "1,000,000,000,000 (1,000,000 are a dollar), or dollars such as $5 and $0.25"
        ),
    ]

    @Test("is refused with the line and the reason where the file contradicts itself", arguments: refusals.indices)
    func refused(_ index: Int) {
        let (lines, message) = Self.refusals[index]
        #expect(refusal(file(lines.split(separator: "; ").map(String.init))) == message)
    }
}
