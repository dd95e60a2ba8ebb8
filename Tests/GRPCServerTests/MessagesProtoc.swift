import Foundation
import TestSupport
import Testing

/// The protobuf compiler, against which our own readers and writers are held.
enum Protoc {
    /// Makes messages of texts, by one run of the compiler.
    ///
    /// - Parameter message: which message of ``definitions`` it is.
    static func encode(_ texts: [String], as message: String) throws -> [[UInt8]] {
        let text = texts.map { "items { \(list(message)) { \($0) } }" }.joined(separator: "\n")
        let all = try run("encode", Array(text.utf8))
        return try parts(all).map { item in try #require(parts(item).first) }
    }

    /// Writes messages as texts, by one run of the compiler.
    static func decode(_ messages: [[UInt8]], as message: String) throws -> [String] {
        let number = try #require(numbers[message])
        let all = messages.flatMap { field(1, field(number, $0)) }
        let text = String(decoding: try run("decode", all), as: UTF8.self)
        // Each item begins at the left edge.
        return text.split(separator: "items {\n").map { item in
            let lines = item.split(separator: "\n").filter { $0 != "}" && $0 != "  }" }
            return lines.dropFirst().map { $0.drop { $0 == " " } }.joined(separator: " ")
        }
    }

    /// A field of bytes, as it is written.
    static func field(_ number: Int, _ bytes: [UInt8]) -> [UInt8] {
        varint(UInt64(number << 3 | 2)) + varint(UInt64(bytes.count)) + bytes
    }

    /// A field of a number, as it is written.
    static func field(_ number: Int, _ value: UInt64) -> [UInt8] { varint(UInt64(number << 3)) + varint(value) }

    /// A number, as it is written.
    static func varint(_ value: UInt64) -> [UInt8] {
        value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7f) | 0x80] + varint(value >> 7)
    }

    /// A text in quotes, each byte as three octal digits.
    static func quoted(_ text: String) -> String {
        let escaped = text.utf8.map { byte in
            let digits = String(byte, radix: 8)
            return "\\" + String(repeating: "0", count: 3 - digits.count) + digits
        }
        return "\"\(escaped.joined())\""
    }

    private static let numbers = ["RateLimitRequest": 1, "RateLimitResponse": 2, "CheckRequest": 3, "CheckResponse": 4]

    private static func list(_ message: String) -> String { "m\(numbers[message] ?? 0)" }

    /// The contents of fields of bytes, one behind the other.
    private static func parts(_ bytes: [UInt8]) -> [[UInt8]] {
        var parts: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            rest.removeFirst()
            var length = 0
            var shift = 0
            while let byte = rest.popFirst() {
                length |= Int(byte & 0x7f) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            parts.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        return parts
    }

    private static func run(_ action: String, _ input: [UInt8]) throws -> [UInt8] {
        let folder = try TemporaryFolder()
        try folder.write(definitions, to: "envoy.proto")
        try Data(input).write(to: URL(fileURLWithPath: folder.file("in")))
        let process = try ChildProcess(
            "sh", ["-c", "protoc --proto_path=$0 --\(action)=Batch $0/envoy.proto <$0/in >$0/out", folder.path])
        let code = try process.wait()
        guard code == 0 else { throw TestFailure("protoc ended with \(code): \(process.errors)") }
        return Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("out"))))
    }

    /// The messages, with the names and numbers of Envoy 1.40.
    private static let definitions = """
        syntax = "proto3";
        import "google/protobuf/wrappers.proto";
        import "google/protobuf/duration.proto";
        import "google/protobuf/struct.proto";

        message Batch { repeated Item items = 1; }
        message Item {
          RateLimitRequest m1 = 1;
          RateLimitResponse m2 = 2;
          CheckRequest m3 = 3;
          CheckResponse m4 = 4;
        }

        // envoy/service/ratelimit/v3/rls.proto
        message RateLimitRequest {
          string domain = 1;
          repeated RateLimitDescriptor descriptors = 2;
          uint32 hits_addend = 3;
          Later later = 4;
          fixed32 later_number = 536870911;
        }
        message RateLimitResponse {
          enum Code { UNKNOWN = 0; OK = 1; OVER_LIMIT = 2; }
          message RateLimit {
            enum Unit {
              UNKNOWN = 0; SECOND = 1; MINUTE = 2; HOUR = 3; DAY = 4; MONTH = 5; YEAR = 6; WEEK = 7;
            }
            string name = 3;
            uint32 requests_per_unit = 1;
            Unit unit = 2;
            google.protobuf.UInt32Value unit_multiplier = 4;
          }
          message DescriptorStatus {
            Code code = 1;
            RateLimit current_limit = 2;
            uint32 limit_remaining = 3;
            google.protobuf.Duration duration_until_reset = 4;
          }
          Code overall_code = 1;
          repeated DescriptorStatus statuses = 2;
          repeated HeaderValue response_headers_to_add = 3;
          repeated HeaderValue request_headers_to_add = 4;
          bytes raw_body = 5;
          google.protobuf.Struct dynamic_metadata = 6;
        }

        // envoy/extensions/common/ratelimit/v3/ratelimit.proto
        message RateLimitDescriptor {
          message Entry {
            string key = 1;
            string value = 2;
            Later later = 3;
          }
          message RateLimitOverride {
            uint32 requests_per_unit = 1;
            RateLimitUnit unit = 2;
            google.protobuf.UInt32Value unit_multiplier = 3;
            Later later = 4;
          }
          repeated Entry entries = 1;
          RateLimitOverride limit = 2;
          google.protobuf.UInt64Value hits_addend = 3;
          bool is_negative_hits = 4;
          Later later = 5;
          repeated fixed64 later_numbers = 100;
        }

        // envoy/type/v3/ratelimit_unit.proto
        enum RateLimitUnit { UNKNOWN = 0; SECOND = 1; MINUTE = 2; HOUR = 3; DAY = 4; MONTH = 5; YEAR = 6; }

        // envoy/config/core/v3/base.proto
        message HeaderValue {
          string key = 1;
          string value = 2;
          bytes raw_value = 3;
        }

        // What Envoy does not say yet, or nobody here reads.
        message Later {
          bool truth = 1;
          int64 number = 2;
          fixed64 long = 3;
          bytes bytes = 4;
          fixed32 short = 5;
          Later nested = 6;
        }

        // envoy/service/auth/v3/external_auth.proto, attribute_context.proto
        message CheckRequest {
          AttributeContext attributes = 1;
          Later later = 2;
        }
        message AttributeContext {
          message Peer {
            Address address = 1;
            string service = 2;
            map<string, string> labels = 3;
            string principal = 4;
            string certificate = 5;
          }
          message Request {
            Later time = 1;
            HttpRequest http = 2;
          }
          message HttpRequest {
            string id = 1;
            string method = 2;
            map<string, string> headers = 3;
            string path = 4;
            string host = 5;
            string scheme = 6;
            string query = 7;
            string fragment = 8;
            int64 size = 9;
            string protocol = 10;
            string body = 11;
            bytes raw_body = 12;
            HeaderMap header_map = 13;
          }
          Peer source = 1;
          Peer destination = 2;
          Request request = 4;
          map<string, string> context_extensions = 10;
          Later metadata_context = 11;
        }

        // envoy/service/auth/v3/external_auth.proto
        message CheckResponse {
          Status status = 1;
          oneof http_response {
            DeniedHttpResponse denied_response = 2;
            OkHttpResponse ok_response = 3;
            DeniedHttpResponse error_response = 5;
          }
        }
        message DeniedHttpResponse {
          HttpStatus status = 1;
          repeated HeaderValueOption headers = 2;
          string body = 3;
        }
        message OkHttpResponse {
          repeated HeaderValueOption headers = 2;
          repeated HeaderValueOption response_headers_to_add = 6;
        }

        // google/rpc/status.proto
        message Status {
          int32 code = 1;
          string message = 2;
        }

        // envoy/type/v3/http_status.proto
        message HttpStatus { StatusCode code = 1; }
        enum StatusCode {
          Empty = 0; StatusOK = 200; Forbidden = 403; TooManyRequests = 429; ServiceUnavailable = 503;
        }

        // envoy/config/core/v3/address.proto
        message Address {
          oneof address {
            SocketAddress socket_address = 1;
            Pipe pipe = 2;
          }
        }
        message SocketAddress {
          int32 protocol = 1;
          string address = 2;
          uint32 port_value = 3;
        }
        message Pipe {
          string path = 1;
          uint32 mode = 2;
        }

        // envoy/config/core/v3/base.proto
        message HeaderMap { repeated HeaderValue headers = 1; }
        message HeaderValueOption {
          enum HeaderAppendAction {
            APPEND_IF_EXISTS_OR_ADD = 0; ADD_IF_ABSENT = 1; OVERWRITE_IF_EXISTS_OR_ADD = 2; OVERWRITE_IF_EXISTS = 3;
          }
          HeaderValue header = 1;
          HeaderAppendAction append_action = 3;
        }
        """
}

/// Gives `read` the bytes as a method has them.
func withBytes<Value>(_ bytes: [UInt8], _ read: (UnsafeRawBufferPointer) throws -> Value) rethrows -> Value {
    // In memory of just their number, so that the address sanitizer sees whoever reads on.
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    return try read(UnsafeRawBufferPointer(copy))
}
