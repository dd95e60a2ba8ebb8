import NIOCore
import RateLimitCore
import RateLimitService

/// Writing the `google.protobuf.Struct` that envoyproxy/ratelimit gives its proxies with an answer: what was asked, and the
/// metadata of the limits that are not over.
///
/// Its keys are `domain`, `descriptors` with `entries`, `limit` and `hitsAddend` of each, `hitsAddend` and `metadata`.
enum DynamicMetadata {
    /// Writes the fields.
    ///
    /// - Parameter standings: how the request's descriptors stand, in its order.
    static func write(
        _ request: DescriptorRequest, _ standings: [DescriptorStanding], to message: inout ByteBuffer
    ) {
        message.writeEntry("domain") { $0.writeValue(request.domain) }
        message.writeEntry("descriptors") { value in
            value.writeList { list in
                for descriptor in request.descriptors { list.writeField(1) { write(descriptor, to: &$0) } }
            }
        }
        if request.hits != 0 { message.writeEntry("hitsAddend") { $0.writeValue(Double(request.hits)) } }
        var metadata = DescriptorMetadata()
        for standing in standings where RateLimitResponse.code(of: standing) == .ok {
            if let said = standing.limit?.definition.metadata { metadata.merge(said) }
        }
        if !metadata.entries.isEmpty { message.writeEntry("metadata") { $0.write(.map(metadata)) } }
    }

    private static func write(_ descriptor: Descriptor, to value: inout ByteBuffer) {
        value.writeStruct { message in
            message.writeEntry("entries") { value in
                value.writeList { list in
                    for entry in descriptor.entries {
                        list.writeField(1) { $0.writeValue("\(entry.key)=\(entry.value)") }
                    }
                }
            }
            if let quota = descriptor.quota { message.writeEntry("limit") { $0.writeValue(text(of: quota)) } }
            if let hits = descriptor.hits { message.writeEntry("hitsAddend") { $0.writeValue(Double(hits)) } }
        }
    }

    /// A descriptor's own limit in protobuf's text format.
    private static func text(of quota: DescriptorQuota) -> String {
        var parts = quota.requestsPerUnit == 0 ? [] : ["requests_per_unit:\(quota.requestsPerUnit)"]
        parts.append("unit:\(quota.unit.text.uppercased())")
        if quota.multiplier != 1 { parts.append("unit_multiplier:{value:\(quota.multiplier)}") }
        return parts.joined(separator: " ")
    }
}

// `google.protobuf.Struct`, `Value` and `ListValue`.
extension ByteBuffer {
    /// Writes an entry of the map that a `Struct` is.
    fileprivate mutating func writeEntry(_ key: String, value: (inout ByteBuffer) -> Void) {
        writeField(1) { entry in
            entry.writeField(1, text: key)
            entry.writeField(2, message: value)
        }
    }

    fileprivate mutating func writeValue(_ number: Double) { writeField(2, alternative: number) }

    fileprivate mutating func writeValue(_ text: String) { writeField(3) { $0.writeString(text) } }

    fileprivate mutating func writeStruct(_ message: (inout ByteBuffer) -> Void) { writeField(5, message: message) }

    fileprivate mutating func writeList(_ message: (inout ByteBuffer) -> Void) { writeField(6, message: message) }

    fileprivate mutating func write(_ value: DescriptorMetadata.Value) {
        switch value {
        case .null: writeField(1, alternative: UInt64(0))
        case .number(let number): writeValue(number)
        case .text(let text): writeValue(text)
        case .flag(let flag): writeField(4, alternative: UInt64(flag ? 1 : 0))
        case .map(let map):
            writeStruct { message in
                for entry in map.entries { message.writeEntry(entry.key) { $0.write(entry.value) } }
            }
        case .list(let values):
            writeList { list in
                for value in values { list.writeField(1) { $0.write(value) } }
            }
        }
    }
}
