import NIOCore
import RateLimitCore
import RateLimitService

@testable import GRPCServer

/// A message of Envoy's that is read is within its bounds, and written again it reads the same; the first byte says which.
func fuzzGRPCMessage(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (head, rest) = bytes.headAndRest
    try withExactCopy(rest) { (message) throws(FuzzFinding) in
        if head & 1 == 0 { try fuzzRateLimitRequest(message) } else { try fuzzCheckRequest(message) }
    }
}

private func fuzzRateLimitRequest(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let request: DescriptorRequest
    do throws(GRPCError) {
        request = try DescriptorRequest(protobuf: bytes)
    } catch {
        try hold(error.message.hasPrefix("cannot "), "an error that says \(error.message)")
        return try hold([.internalError, .invalidArgument].contains(error.code), "the code \(error.code)")
    }
    try hold(!request.domain.isEmpty && 0...Int(UInt32.max) ~= request.hits, "\(request)")
    try hold(1...DescriptorRequest.mostDescriptors ~= request.descriptors.count, "\(request.descriptors.count)")
    for descriptor in request.descriptors {
        try hold(descriptor.entries.count <= DescriptorRequest.mostEntries, "\(descriptor.entries.count) entries")
        try hold(descriptor.hits.map { 0...Descriptor.mostHits ~= $0 } ?? true, "\(descriptor.hits ?? 0) hits")
        try hold(
            descriptor.quota.map { LimitWindow.lengths.contains($0.windowMilliseconds) } ?? true, "\(descriptor)")
    }
    var written = ByteBuffer()
    write(request, to: &written)
    let again = written.withUnsafeReadableBytes { bytes in
        Result { () throws(GRPCError) in try DescriptorRequest(protobuf: bytes) }
    }
    try hold(again == .success(request), "\(request) reads again as \(again)")
    try holdPlan(of: request)
}

/// The same request in the domain of the daemon's own limits: whatever it says, each descriptor has a step, and what is
/// charged is within its bounds.
private func holdPlan(of request: DescriptorRequest) throws(FuzzFinding) {
    guard let plan = try? LimitsDomainRequest(request, under: .none) else { return }
    try hold(plan.stepOfDescriptor.count == request.descriptors.count, "\(plan)")
    try hold(plan.stepOfDescriptor.allSatisfy(plan.steps.indices.contains), "\(plan)")
    try hold(plan.steps.count(where: { $0.kind == .ask }) <= 1, "two that ask in \(plan)")
    for step in plan.steps {
        guard let call = step.request else { continue }
        try hold(call.cost <= Limit.costs.upperBound, "a cost of \(call.cost)")
        for kind in TokenKind.allCases {
            try hold(call.tokens.map { TokenUsage.counts.contains($0.count(of: kind)) } ?? true, "\(kind) tokens")
        }
        try hold(call.costMicros.map(ModelPrice.spends.contains) ?? true, "\(call.costMicros ?? 0) micro-dollars")
    }
}

private func write(_ request: DescriptorRequest, to message: inout ByteBuffer) {
    message.writeField(1, text: request.domain)
    message.writeField(3, number: request.hits)
    for descriptor in request.descriptors {
        message.writeField(2) { message in
            for entry in descriptor.entries {
                message.writeField(1) {
                    $0.writeField(1, text: entry.key)
                    $0.writeField(2, text: entry.value)
                }
            }
            if let quota = descriptor.quota {
                message.writeField(2) { message in
                    message.writeField(1, number: quota.requestsPerUnit)
                    message.writeField(2, number: quota.unit.rawValue)
                    message.writeField(3) { $0.writeField(1, number: quota.multiplier) }
                }
            }
            if let hits = descriptor.hits { message.writeField(3) { $0.writeField(1, number: hits) } }
            message.writeField(4, number: descriptor.isRefund ? 1 : 0)
        }
    }
}

private func fuzzCheckRequest(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let request: CheckRequest
    do throws(GRPCError) {
        request = try CheckRequest(protobuf: bytes)
    } catch {
        return try hold(error.message.hasPrefix("cannot "), "an error that says \(error.message)")
    }
    let users = request.values(of: .userID)
    try hold(users.count <= CheckRequest.mostHeaders, "\(users.count) headers")
    var written = ByteBuffer()
    written.writeField(1) { attributes in
        if case .address(let address) = request.peer {
            attributes.writeField(1) { $0.writeField(1) { $0.writeField(1) { $0.writeField(2, text: "\(address)") } } }
        }
        attributes.writeField(4) { request in
            request.writeField(2) { http in
                for user in users {
                    http.writeField(13) { map in
                        map.writeField(1) {
                            $0.writeField(1, text: "x-user-id")
                            $0.writeField(2, text: user)
                        }
                    }
                }
            }
        }
    }
    let isSame = written.withUnsafeReadableBytes { bytes in
        guard let again = try? CheckRequest(protobuf: bytes) else { return false }
        return again.peer == request.peer && again.values(of: .userID) == users
    }
    try hold(isSame, "\(request.peer) and \(users) are read otherwise")
}
