import CNGHTTP2

/// What a call that failed is answered.
extension CallFailure {
    /// The error of gRPC's; nil where it is no call of gRPC's at all.
    var error: GRPCError? {
        switch self {
        case .none, .notPost, .notGRPC: nil
        case .unknownMethod: GRPCError(code: .unimplemented, message: "cannot call: there is no method of this path")
        case .compressed:
            GRPCError(
                code: .unimplemented, message: "cannot read the message: it is compressed; accepted is identity")
        case .messageTooLarge:
            GRPCError(
                code: .resourceExhausted,
                message: "cannot read the message: it has more than \(HTTP2Bounds.messageBytes) bytes")
        case .severalMessages:
            GRPCError(code: .unimplemented, message: "cannot take the call: it has more than one message")
        case .noMessage: GRPCError(code: .unimplemented, message: "cannot take the call: it has no message")
        case .partialMessage:
            GRPCError(code: .invalidArgument, message: "cannot read the message: it is shorter than its prefix says")
        case .tooMuchGathered:
            GRPCError(code: .resourceExhausted, message: "cannot read the message: too many are arriving in part")
        case .tooManyStreamingCalls:
            GRPCError(
                code: .resourceExhausted,
                message: "cannot take the call: \(HTTP2Bounds.streamingCalls) of its kind are open on the connection")
        case .incomplete:
            GRPCError(code: .deadlineExceeded, message: "cannot take the call: it did not arrive whole in time")
        }
    }

    /// The fields of the answer where it is no call of gRPC's.
    var fields: [nghttp2_nv] {
        self == .notPost
            ? [ResponseFields.field(":status", "405"), ResponseFields.field("allow", "POST")]
            : [ResponseFields.field(":status", "415")]
    }
}
