import NIOCore
import RateLimitCore
import RateLimitService

/// Writing `envoy.service.ratelimit.v3.RateLimitResponse`, as of Envoy 1.40.
enum RateLimitResponse {
    /// What a proxy is told of a request, and of each of its descriptors; UNKNOWN is never said.
    enum Code: Int {
        case ok = 1
        case overLimit = 2
    }

    /// The largest number that the message has room for: what is left of what is unlimited, and of more.
    static let mostRemaining = UInt64(UInt32.max)

    /// What a request comes to.
    ///
    /// The verdict speaks of the descriptors that ask. One that reports is charged whatever is left, and its limit is over
    /// all the same where it did not fit; those in quota mode count where all of them are over.
    ///
    /// - Parameter isShadow: whether the daemon lets denials pass: then nothing is over.
    static func code(of outcome: Outcome, isShadow: Bool = false) -> Code {
        guard outcome.isAllowed else { return .overLimit }
        if isShadow || outcome.isShadowDenied { return .ok }
        guard let standings = outcome.details?.descriptors, !standings.isEmpty else { return .ok }
        var hasQuota = false
        var isAnyLeft = false
        for standing in standings {
            guard let limit = standing.limit?.definition, !limit.isShadow else { continue }
            if limit.isQuotaMode {
                hasQuota = true
                if !standing.isOver { isAnyLeft = true }
            } else if standing.isOver {
                return .overLimit
            }
        }
        return hasQuota && !isAnyLeft ? .overLimit : .ok
    }

    /// Writes what became of a request.
    static func write(_ outcome: Outcome, isShadow: Bool = false, to message: inout ByteBuffer) {
        let code = code(of: outcome, isShadow: isShadow)
        message.writeField(1, number: code.rawValue)
        if let details = outcome.details {
            for standing in details.descriptors { message.writeField(2) { write(standing, to: &$0) } }
        }
        // Envoy 1.40 makes it of the statuses, and never over one that it was given; those before it do not.
        if code == .overLimit, let wait = waitSeconds(of: outcome) {
            writeHeader("retry-after", "\(wait)", to: &message)
        }
        if let reason = outcome.degradedReason {
            writeHeader(degradedHeader, reason.rawValue, to: &message)
        }
        if let names = outcome.details?.overLimits, !names.isEmpty {
            writeHeader(overHeader, names.map(\.text).joined(separator: ", "), to: &message)
        }
        if let details = outcome.details, let described = details.described {
            message.writeField(6) { DynamicMetadata.write(described.request, details.descriptors, to: &$0) }
        }
    }

    /// Says why Redis did not decide, where it should have.
    static let degradedHeader = "x-rate-limit-degraded"

    /// Names the limits that count more than their soft line, which denies nobody.
    static let overHeader = "x-rate-limit-over"

    /// What a proxy is told of one descriptor.
    static func code(of standing: DescriptorStanding) -> Code {
        standing.isOver && standing.limit?.definition.isShadow != true ? .overLimit : .ok
    }

    private static func write(_ standing: DescriptorStanding, to status: inout ByteBuffer) {
        let limit = standing.limit?.definition
        status.writeField(1, number: code(of: standing).rawValue)
        guard let limit else { return }
        guard let quota = limit.quota else { return status.writeField(3, number: mostRemaining) }
        // Of what nobody counted nothing is said: a proxy would tell its client that nothing is left.
        if let remaining = standing.remaining {
            status.writeField(2) { current in
                current.writeField(1, number: quota.requestsPerUnit)
                current.writeField(2, number: quota.unit.rawValue)
                if let name = limit.name { current.writeField(3, text: name) }
                if quota.multiplier != 1 { current.writeField(4) { $0.writeField(1, number: quota.multiplier) } }
            }
            status.writeField(3, number: min(UInt64(max(0, remaining)), mostRemaining))
        }
        guard let milliseconds = standing.resetAfterMilliseconds, milliseconds > 0 else { return }
        status.writeField(4) { duration in
            duration.writeField(1, number: milliseconds / 1_000)
            duration.writeField(2, number: milliseconds % 1_000 * 1_000_000)
        }
    }

    private static func writeHeader(_ name: String, _ value: String, to message: inout ByteBuffer) {
        message.writeField(3) { header in
            header.writeField(1, text: name)
            header.writeField(2, text: value)
        }
    }

    /// For how many seconds a proxy's client is to wait, at least 1; nil where no wait helps.
    private static func waitSeconds(of outcome: Outcome) -> Int? {
        if !outcome.isAllowed {
            return switch outcome.verdict {
            case .denied(let milliseconds), .atCapacity(let milliseconds): seconds(milliseconds)
            case .refused: 1
            case .allowed, .deniedForGood, .unknownModel, .missingValue, .unknownLease, .repeated, .tooLate: nil
            }
        }
        let over = outcome.details?.descriptors.filter { $0.isOver && !($0.limit?.definition.isShadow ?? true) }
        return over?.compactMap(\.resetAfterMilliseconds).max().map(seconds)
    }

    /// Rounded up: nobody who waits as told comes too early.
    private static func seconds(_ milliseconds: Int) -> Int { max(1, (milliseconds + 999) / 1_000) }
}
