import RateLimitCore
import RateLimitService

/// Reading `envoy.service.ratelimit.v3.RateLimitRequest`, as of Envoy 1.40.
extension DescriptorRequest {
    /// The most entries of a descriptor.
    static let mostEntries = 32

    /// Reads a request.
    ///
    /// - Throws: `internalError` for bytes that are no such message, as gRPC's libraries answer them; `invalidArgument` for a
    ///   message that nobody can decide.
    init(protobuf bytes: UnsafeRawBufferPointer) throws(GRPCError) {
        self.init(domain: "", descriptors: [], hits: 0)
        var problem: GRPCError?
        do throws(ProtobufError) {
            problem = try read(ProtobufReader(bytes))
        } catch {
            throw .malformed("RateLimitRequest", error)
        }
        if let problem { throw problem }
        if domain.isEmpty {
            throw .invalid("cannot decide without a domain: the domain of a request must not be empty")
        }
        if descriptors.isEmpty {
            throw .invalid("cannot decide without a descriptor: the list of descriptors must not be empty")
        }
    }

    /// Reads the fields, and says the first that cannot be used.
    private mutating func read(_ message: ProtobufReader) throws(ProtobufError) -> GRPCError? {
        var reader = message
        descriptors.reserveCapacity(min(reader.count(of: .bytes(2)), Self.mostDescriptors))
        while let field = try reader.next() {
            switch field {
            case .bytes(1): domain = try reader.text()
            case .bytes(2):
                guard descriptors.count < Self.mostDescriptors else {
                    return .invalid(
                        "cannot decide for so many descriptors: accepted are at most \(Self.mostDescriptors)")
                }
                var fields = DescriptorFields()
                try fields.read(try reader.message())
                switch fields.descriptor() {
                case .success(let descriptor): descriptors.append(descriptor)
                case .failure(let problem):
                    return .invalid("cannot decide for descriptor \(descriptors.count + 1): \(problem.text)")
                }
            case .varint(3): hits = Int(try reader.uint32())
            default: try reader.skip(field)
            }
        }
        return nil
    }
}

extension GRPCError {
    /// A message that can be read, and not be used.
    static func invalid(_ message: String) -> GRPCError { GRPCError(code: .invalidArgument, message: message) }
}

/// The fields of `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor` as they stand in a message.
private struct DescriptorFields {
    private var entries: [DescriptorEntry] = []
    private var hasTooManyEntries = false
    private var limit: LimitFields?
    private var hits: UInt64?
    private var isRefund = false

    mutating func read(_ message: ProtobufReader) throws(ProtobufError) {
        var reader = message
        entries.reserveCapacity(min(reader.count(of: .bytes(1)), DescriptorRequest.mostEntries))
        while let field = try reader.next() {
            switch field {
            case .bytes(1):
                let entry = try Self.entry(try reader.message())
                if entries.count < DescriptorRequest.mostEntries {
                    entries.append(entry)
                } else {
                    hasTooManyEntries = true
                }
            case .bytes(2):
                // Of a message that stands twice each field's last value counts.
                var fields = limit ?? LimitFields()
                try fields.read(try reader.message())
                limit = fields
            case .bytes(3): hits = try Self.wrapped(try reader.message(), hits ?? 0)
            case .varint(4): isRefund = try reader.boolean()
            default: try reader.skip(field)
            }
        }
    }

    private static func entry(_ message: ProtobufReader) throws(ProtobufError) -> DescriptorEntry {
        var reader = message
        var entry = DescriptorEntry("", "")
        while let field = try reader.next() {
            switch field {
            case .bytes(1): entry.key = try reader.text()
            case .bytes(2): entry.value = try reader.text()
            default: try reader.skip(field)
            }
        }
        return entry
    }

    /// The number in a `UInt64Value` or `UInt32Value`.
    static func wrapped(_ message: ProtobufReader, _ before: UInt64) throws(ProtobufError) -> UInt64 {
        var reader = message
        var value = before
        while let field = try reader.next() {
            if field == .varint(1) { value = try reader.varint() } else { try reader.skip(field) }
        }
        return value
    }

    /// The descriptor, or why nobody can decide for it.
    func descriptor() -> Result<Descriptor, DescriptorProblem> {
        if hasTooManyEntries {
            return .failure(
                DescriptorProblem("it has too many entries; accepted are at most \(DescriptorRequest.mostEntries)"))
        }
        var descriptor = Descriptor(entries, hits: hits.map { Int(min($0, UInt64(Descriptor.mostHits))) })
        descriptor.isRefund = isRefund
        guard let limit else { return .success(descriptor) }
        return limit.quota().map { quota in
            descriptor.quota = quota
            return descriptor
        }
    }
}

/// Why nobody can decide for a descriptor, as a part of a sentence.
private struct DescriptorProblem: Error {
    let text: String

    init(_ text: String) { self.text = text }
}

/// The fields of a descriptor's own limit, `RateLimitOverride`.
private struct LimitFields {
    private var requestsPerUnit: UInt32 = 0
    private var unit: UInt64 = 0
    private var multiplier: UInt64?

    mutating func read(_ message: ProtobufReader) throws(ProtobufError) {
        var reader = message
        while let field = try reader.next() {
            switch field {
            case .varint(1): requestsPerUnit = try reader.uint32()
            case .varint(2): unit = try reader.varint()
            case .bytes(3): multiplier = try DescriptorFields.wrapped(try reader.message(), multiplier ?? 0)
            default: try reader.skip(field)
            }
        }
    }

    func quota() -> Result<DescriptorQuota, DescriptorProblem> {
        guard let unit = Int(exactly: unit).flatMap(DescriptorUnit.init(rawValue:)) else {
            return .failure(
                DescriptorProblem(
                    "its limit has the unit \(unit); accepted are 1 SECOND, 2 MINUTE, 3 HOUR, 4 DAY, 5 MONTH, 6 YEAR and 7 WEEK"
                ))
        }
        let multiplier = UInt32(truncatingIfNeeded: multiplier ?? 1)
        guard let quota = DescriptorQuota(Int(requestsPerUnit), per: unit, times: Int(multiplier)) else {
            let longest = LimitWindow.lengths.upperBound / unit.milliseconds
            return .failure(
                DescriptorProblem(
                    "the window of its limit is \(multiplier) times \(unit); accepted are 1 to \(longest) times \(unit)"
                ))
        }
        return .success(quota)
    }
}
