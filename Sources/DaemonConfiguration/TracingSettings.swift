package import DecisionTracing
package import HTTPPosts
import RedisClient

/// How decisions are traced, as the variables of OpenTelemetry's standard say. Nothing is where they name no collector.
public struct TracingSettings: Sendable, Equatable {
    /// Where a collector takes all signals, or nil.
    package var endpoint: PostURL?
    /// Where it takes spans, or nil for a path below ``endpoint``.
    package var tracesEndpoint: PostURL?
    /// How it is spoken to.
    var transport = OTLPTransport.httpProtobuf
    /// What is sent along.
    package var headers: [PostHeader] = []
    /// How long one attempt may take, 1 to 600,000 ms.
    package var timeoutMilliseconds = 10_000
    /// The file of authorities that vouch for the collector, or nil for the system's.
    package var authoritiesFile: String?
    /// What the daemon is called, 1 to 255 bytes, or nil for `llm-rate-limit`.
    package var serviceName: String?
    /// What else tells it from others.
    package var resource = AttributeList()
    /// Which decisions become spans.
    var samplerName = SamplerName.parentBasedAlwaysOn
    /// The share of traces in millionths, where the sampler takes one, 0 to 1,000,000; nil for all of them.
    var samplerShare: Int?
    /// Whether nothing is traced, whatever the others say.
    package var isDisabled = false

    /// The URL to which spans are posted; nil where none are.
    package var spansURL: PostURL? {
        guard !isDisabled else { return nil }
        return tracesEndpoint ?? endpoint?.appending(path: "v1/traces")
    }

    /// The sampler with its share.
    package var sampler: TraceSampler {
        let root: TraceSampler.Root =
            switch samplerName {
            case .alwaysOn, .parentBasedAlwaysOn: .always
            case .alwaysOff, .parentBasedAlwaysOff: .never
            case .traceIDRatio, .parentBasedTraceIDRatio: TraceSampler.Root(millionths: samplerShare ?? 1_000_000)
            }
        return TraceSampler(root, followsParent: samplerName.followsParent)
    }

    /// The name of the sampler, as logs have it.
    package var samplerText: String { samplerName.rawValue }
}

/// How a collector is spoken to; the standard has others, which are not spoken.
enum OTLPTransport: String, CaseIterable, Sendable {
    case httpProtobuf = "http/protobuf"
}

/// The samplers that there are, as the standard names them.
enum SamplerName: String, CaseIterable, Sendable {
    case alwaysOn = "always_on"
    case alwaysOff = "always_off"
    case traceIDRatio = "traceidratio"
    case parentBasedAlwaysOn = "parentbased_always_on"
    case parentBasedAlwaysOff = "parentbased_always_off"
    case parentBasedTraceIDRatio = "parentbased_traceidratio"

    var followsParent: Bool { rawValue.hasPrefix("parentbased_") }

    var takesShare: Bool { self == .traceIDRatio || self == .parentBasedTraceIDRatio }
}

/// Names with values, as `OTEL_RESOURCE_ATTRIBUTES` has them: `name=value,…`, with what is not plain percent-encoded.
package struct AttributeList: Sendable, Equatable {
    /// In the order in which they were given.
    package var pairs: [Pair] = []

    /// A name and its value.
    package struct Pair: Sendable, Equatable {
        package var name: String
        package var value: String
    }

    /// How many there may be.
    static let maximumCount = 64
    /// How long the text may be, in bytes.
    static let maximumBytes = 8_192

    /// None.
    init() {}

    init(_ text: String) throws(ValueRejection) {
        guard text.utf8.count <= Self.maximumBytes else {
            throw ValueRejection("it is longer than \(grouped(Self.maximumBytes)) bytes")
        }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let equals = part.firstIndex(of: "=") else { throw ValueRejection("a part has no =") }
            let name = trimmed(part[..<equals])
            guard !name.isEmpty else { throw ValueRejection("a part has no name") }
            guard let value = try? PercentCoding.decode(trimmed(part[equals...].dropFirst())) else {
                throw ValueRejection("the value of \(name) is not percent-encoded UTF-8")
            }
            guard !value.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
                throw ValueRejection("the value of \(name) holds a control character")
            }
            pairs.append(Pair(name: String(name), value: value))
        }
        guard pairs.count <= Self.maximumCount else {
            throw ValueRejection("there are more than \(Self.maximumCount) parts")
        }
    }
}

private func trimmed(_ text: Substring) -> Substring {
    let start = text.drop { $0 == " " }
    guard let last = start.lastIndex(where: { $0 != " " }) else { return "" }
    return start[...last]
}

extension AttributeList: CustomStringConvertible {
    /// As it is written.
    package var description: String {
        pairs.map { "\($0.name)=\(PercentCoding.encode($0.value, keeping: ":/@"))" }.joined(separator: ",")
    }
}
