import BoundedFiles
public import LimitsFile
public import RateLimitCore
public import RateLimitService
import RedisClient

/// A limits file, as it was when it was read.
public struct LimitsFileSetting: Sendable, Equatable {
    /// Where it is.
    public let path: String
    /// What it says.
    public let content: LimitsFileContent
}

/// Whose groups count for a call.
public enum GroupSource: String, CaseIterable, Sendable {
    /// Those kept through the admin socket.
    case stored
    /// Those that the call names: for a gateway that knows them.
    case given
}

extension ValueSyntax where Value == LimitsFileSetting {
    /// The path of a limits file, which is read.
    static var limitsFile: Self {
        Self(
            placeholder: "file", accepted: "paths of readable limits files, at most 1 MiB",
            parse: { text throws(ValueRejection) in
                let bytes: [UInt8]
                do {
                    bytes = try BoundedFile(path: text, maximumBytes: 1 << 20).bytes
                } catch {
                    throw ValueRejection("\(error)")
                }
                do throws(LimitsFileError) {
                    let content = try LimitsFileContent(reading: bytes, timeZones: TimeZoneFolder())
                    return LimitsFileSetting(path: text, content: content)
                } catch {
                    throw ValueRejection("\(error)")
                }
            },
            render: { $0.path })
    }
}

extension Settings {
    /// All limits, where there are others beside `requests`; then that is among them.
    public func limits() throws(LimitSetError) -> LimitsInForce {
        let file = limitsFile?.content ?? .none
        var own: [LimitDefinition] = []
        if maxConcurrency > 0 {
            own.append(
                LimitDefinition(
                    name: .maxConcurrency, scope: .global, unit: .concurrency, quota: maxConcurrency, window: nil))
        }
        if requestsPerSecond > 0 { own.append(requestLimit(.perSecond, requestsPerSecond, seconds: 1)) }
        guard !own.isEmpty || !file.limits.limits.isEmpty else { return .none }
        if requests > 0 { own.append(requestLimit(.requests, requests, seconds: windowSeconds)) }
        return LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(own + file.limits.limits), policy: file.groupPolicy),
            prices: file.prices, groupsAreGiven: groups == .given,
            leases: LeaseTimes(
                usualMilliseconds: file.leaseMilliseconds, longestMilliseconds: file.longestLeaseMilliseconds))
    }

    private func requestLimit(_ name: LimitName, _ quota: Int, seconds: Int) -> LimitDefinition {
        LimitDefinition(
            name: name, scope: .user, unit: .requests, quota: quota, window: .sliding(milliseconds: seconds * 1000),
            failureAnswer: FailureAnswer(rawValue: failureMode.rawValue) ?? .open)
    }
}

extension LimitName {
    /// The limit of `LLM_RATE_LIMIT_PER_SECOND`.
    static let perSecond = LimitName("per-second")!
    /// The limit of `LLM_RATE_LIMIT_MAX_CONCURRENCY`.
    static let maxConcurrency = LimitName("max-concurrency")!
}
