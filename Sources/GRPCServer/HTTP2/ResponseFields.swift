import CNGHTTP2

/// The headers and trailers of answers. All that does not change is static text, which the library need not copy.
enum ResponseFields {
    private static let codes: [StaticString] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    ]

    /// The trailer behind the messages of an answer.
    static func submitTrailer(_ session: OpaquePointer?, _ stream: Int32, code: Int) -> CInt {
        var trailer = field("grpc-status", codes[code])
        return nghttp2_submit_trailer(session, stream, &trailer, 1)
    }

    /// The headers before messages, which `record` holds.
    static func submitMessages(_ session: OpaquePointer, _ record: UnsafeMutablePointer<CallRecord>) -> CInt {
        var provider = nghttp2_data_provider(
            source: nghttp2_data_source(ptr: record), read_callback: SessionCallbacks.reply)
        return withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: 2) { fields in
            fields.initializeElement(at: 0, to: field(":status", "200"))
            fields.initializeElement(at: 1, to: field("content-type", "application/grpc"))
            return nghttp2_submit_response(session, record.pointee.streamID, fields.baseAddress, 2, &provider)
        }
    }

    /// An answer of gRPC's that is an error and nothing else.
    static func submitError(_ session: OpaquePointer, _ stream: Int32, _ error: GRPCError) -> CInt {
        let message = StatusMessage.encoded(error.message)
        return message.withUnsafeBufferPointer { message in
            var fields = [
                field(":status", "200"), field("content-type", "application/grpc"),
                field("grpc-status", codes[error.code.rawValue]),
            ]
            if let text = message.baseAddress {
                var field = field("grpc-message", "")
                field.value = UnsafeMutablePointer(mutating: text)
                field.valuelen = message.count
                // Copied, and kept out of the table that the next answers' headers are found in.
                field.flags = UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_INDEX.rawValue)
                fields.append(field)
            }
            if error.code == .unimplemented { fields.append(field("grpc-accept-encoding", "identity")) }
            return nghttp2_submit_response(session, stream, fields, fields.count, nil)
        }
    }

    /// An answer to what is no call of gRPC's.
    static func submitStatus(_ session: OpaquePointer, _ stream: Int32, _ fields: [nghttp2_nv]) -> CInt {
        nghttp2_submit_response(session, stream, fields, fields.count, nil)
    }

    /// A field of static text.
    static func field(_ name: StaticString, _ value: StaticString) -> nghttp2_nv {
        // The library reads what it need not copy, and writes to neither.
        nghttp2_nv(
            name: UnsafeMutablePointer(mutating: name.utf8Start),
            value: UnsafeMutablePointer(mutating: value.utf8Start),
            namelen: name.utf8CodeUnitCount, valuelen: value.utf8CodeUnitCount,
            flags: UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue))
    }
}
