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
    /// What tells its bytes from others: a number below 2^48.
    let hash: Int
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
            placeholder: "file", accepted: "paths of readable limits files, YAML or JSON, at most 1 MiB",
            parse: { text throws(ValueRejection) in try LimitsFileSetting(reading: text) },
            render: { $0.path })
    }
}

extension LimitsFileSetting {
    /// Reads a file of at most 1 MiB.
    init(reading path: String) throws(ValueRejection) {
        try checkPath(path)
        let bytes: [UInt8]
        do {
            bytes = try BoundedFile(path: path, maximumBytes: 1 << 20).bytes
        } catch {
            throw ValueRejection("\(error)")
        }
        do throws(LimitsFileError) {
            let content = try LimitsFileContent(reading: bytes, timeZones: TimeZoneFolder())
            var hash = ContentHash()
            hash.add(bytes)
            self.init(path: path, content: content, hash: hash.number())
        } catch {
            let place = error.line.map { "line \($0): " } ?? ""
            throw ValueRejection(place + error.reason, accepted: error.accepted)
        }
    }
}

extension Settings {
    /// All limits, where there are others beside `requests`; then that is among them. Without others there are none, and
    /// what else the file says counts all the same.
    public func limits() throws(LimitSetError) -> LimitsInForce {
        let file = limitsFile?.content ?? .none
        var own: [LimitDefinition] = []
        if maxConcurrency > 0 {
            own.append(
                LimitDefinition(
                    name: .maxConcurrency, scope: .global, unit: .concurrency, quota: maxConcurrency, window: nil))
        }
        if requestsPerSecond > 0 { own.append(requestLimit(.perSecond, requestsPerSecond, seconds: 1)) }
        let hasOthers = !own.isEmpty || !file.limits.limits.isEmpty
        if hasOthers, requests > 0 { own.append(requestLimit(.requests, requests, seconds: windowSeconds)) }
        return LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(own + file.limits.limits), policy: file.groupPolicy),
            prices: file.prices, groupsAreGiven: groups == .given,
            leases: LeaseTimes(
                usualMilliseconds: file.leaseMilliseconds, longestMilliseconds: file.longestLeaseMilliseconds,
                rememberMilliseconds: file.rememberMilliseconds))
    }

    /// Why the limits of the file do not go together with those of the options; nil where they do.
    var limitsRejection: ValueRejection? {
        do throws(LimitSetError) {
            _ = try limits()
            return nil
        } catch {
            switch error {
            case .tooMany:
                return ValueRejection("with those of the variables there are more than \(LimitSet.maximumCount) limits")
            case .sameName, .sameID: return ValueRejection("it names a limit as one of the variables is named")
            // The variables' limits have one window, and the file's were a set.
            case .otherMaximum: preconditionFailure("the limits of a file bound their windows alike")
            }
        }
    }

    private func requestLimit(_ name: LimitName, _ quota: Int, seconds: Int) -> LimitDefinition {
        LimitDefinition(
            name: name, scope: .user, unit: .requests, quota: quota, window: .sliding(milliseconds: seconds * 1000),
            failureMode: FailureMode(rawValue: failureMode.rawValue) ?? .open)
    }
}

extension LimitName {
    /// The limit of `LLM_RATE_LIMIT_PER_SECOND`.
    static let perSecond = LimitName("per-second")!
    /// The limit of `LLM_RATE_LIMIT_MAX_CONCURRENCY`.
    static let maxConcurrency = LimitName("max-concurrency")!
}
