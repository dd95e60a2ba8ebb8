import LimitsFile
import RateLimitCore
import TestSupport
import Testing

@Suite("300 configurations of envoyproxy/ratelimit, by its documented rules")
struct EnvoyReferenceTests {
    private let cases = EnvoyReferenceCase.all()

    private func descriptor(_ descriptor: EnvoyReferenceCase.Descriptor) throws -> Descriptor {
        let quota = try descriptor.ownQuota.map { own in
            try #require(
                DescriptorQuota(own.requestsPerUnit, per: DescriptorUnit(own.unit) ?? .second, times: own.multiplier))
        }
        let entries = descriptor.entries.map { DescriptorEntry($0.key, $0.value) }
        return Descriptor(entries, quota: quota, hits: descriptor.hits)
    }

    private func isSame(_ limit: DescriptorLimit?, _ met: EnvoyReferenceCase.Met?) -> Bool {
        guard let limit = limit?.definition, let met else { return limit == nil && met == nil }
        return limit.path == met.path && limit.name == met.name && limit.isShadow == met.isShadow
            && limit.isQuotaMode == met.isQuotaMode && limit.quota?.requestsPerUnit == met.quota?.requestsPerUnit
            && limit.quota?.unit.text == met.quota?.unit && limit.quota?.multiplier == met.quota?.multiplier
    }

    @Test("are read, and each descriptor meets the limit and the window that they say, in order")
    func matching() throws {
        let folder = try TemporaryFolder()
        var replacedCount = 0
        for one in cases {
            let path = try folder.write(one.yaml, to: "\(one.number).yaml")
            let rules = try EnvoyConfiguration(readingAt: path).rules
            // Which key of ours is which window of the reference's: one for one.
            var windows: [String: String] = [:]
            var keys: [String: String] = [:]
            for step in one.steps {
                let descriptors = try step.request.descriptors.map(descriptor)
                let matches = rules.matches(descriptors, in: one.domain)
                #expect(matches.count == step.statuses.count)
                let alone = descriptors.flatMap { rules.matches([$0], in: one.domain) }
                replacedCount += zip(alone, step.statuses).count { $0.limit != nil && $1.met == nil }
                for (match, status) in zip(matches, step.statuses) {
                    let window = status.met?.window
                    #expect(isSame(match.limit, status.met), "\(one.yaml)\n\(step.request)")
                    #expect((match.key == nil) == (window == nil), "\(one.yaml)\n\(step.request)")
                    guard let key = match.key?.text, let window else { continue }
                    #expect((windows[key] ?? window, keys[window] ?? key) == (window, key), "\(one.yaml)")
                    windows[key] = window
                    keys[window] = key
                }
            }
        }
        #expect(replacedCount >= 20)
    }

    @Test(
        "count as is decided: what is admitted is taken, a denial takes nothing, and nothing comes back within a window"
    )
    func counting() {
        for one in cases {
            var left: [String: Int] = [:]
            for step in one.steps {
                let deniesAlone = zip(step.request.descriptors, step.statuses).contains {
                    $0.hits ?? 0 == 0 && $1.isCodeOverLimit && $1.met?.isQuotaMode == false
                }
                for (descriptor, status) in zip(step.request.descriptors, step.statuses) {
                    guard let met = status.met, let quota = met.quota, let window = met.window else {
                        #expect(!status.isOver && status.remaining == nil)
                        continue
                    }
                    // A proxy may give another quota for the same window each time.
                    guard descriptor.ownQuota == nil else { continue }
                    let before = left[window] ?? quota.requestsPerUnit
                    let hits = descriptor.hits ?? max(1, step.request.hits)
                    let isAsked = descriptor.hits ?? 0 == 0
                    let isTaken = !deniesAlone && !(isAsked && status.isOver)
                    #expect(status.remaining == (isTaken ? max(0, before - hits) : before), "\(one.yaml)\n\(step)")
                    #expect(status.isOver == (before < max(1, hits)), "\(one.yaml)\n\(step)")
                    left[window] = status.remaining
                }
                #expect(!deniesAlone || step.isDenied)
            }
        }
    }

    @Test("say something of everything")
    func coverage() {
        let steps = cases.flatMap(\.steps)
        let statuses = steps.flatMap(\.statuses)
        let met = statuses.compactMap(\.met)
        #expect(cases.count == 300 && steps.count > 3_000)
        let counts = [
            "denied": steps.count { $0.isDenied }, "admitted": steps.count { !$0.isDenied },
            "without a limit": statuses.count { $0.met == nil }, "unlimited": met.count { $0.quota == nil },
            "shadows that are over": statuses.count { $0.isOver && $0.met?.isShadow == true },
            "quota mode over alone": steps.count { step in
                !step.isDenied && step.statuses.contains { $0.isOver && $0.met?.isQuotaMode == true }
            },
            "quota mode over together": steps.count { step in
                step.isDenied
                    && step.statuses.allSatisfy {
                        !$0.isOver || $0.met?.isQuotaMode == true || $0.met?.isShadow == true
                    }
            }, "shared": met.count { $0.window?.contains("all of") ?? false },
            "of the proxy": met.count { $0.window?.hasPrefix("own") ?? false },
            "in three levels": met.count { $0.path.split(separator: ".").count > 2 },
            "peeks": steps.count { $0.request.descriptors.contains { $0.hits == 0 } },
            "reports that are over": steps.count { step in
                zip(step.request.descriptors, step.statuses).contains {
                    $0.hits ?? 0 > 0 && $1.isOver && !step.isDenied
                }
            },
        ]
        for (what, count) in counts { #expect(count >= 20, "\(what): \(count)") }
    }
}
