import HTTPServer
import NIOCore
import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

@Suite("A CheckRequest")
struct CheckRequestTests {
    private func encode(_ text: String) throws -> [UInt8] {
        try #require(Protoc.encode([text], as: "CheckRequest").first)
    }

    /// What Envoy sends of a request, with what nobody here reads.
    private let whole = """
        later { truth: true }
        attributes {
          source {
            address { socket_address { protocol: 0 address: '192.0.2.7' port_value: 4711 } }
            service: 'a' labels { key: 'x' value: 'y' } principal: 'p' certificate: 'c'
          }
          destination { address { socket_address { address: '192.0.2.8' port_value: 80 } } }
          request {
            time { number: 5 }
            http {
              id: '1' method: 'POST' path: '/v1/chat?x=1' host: 'api' scheme: 'http' size: -1 protocol: 'HTTP/1.1'
              headers { key: ':authority' value: 'api' }
              headers { key: 'x-user-id' value: 'ada' }
              headers { key: 'x-model' value: 'gpt\\303\\251' }
              headers { key: 'x-empty' value: '' }
              body: 'b' raw_body: 'r'
            }
          }
          context_extensions { key: 'group' value: 'red' }
          context_extensions { key: 'empty' value: '' }
          metadata_context { nested { bytes: 'm' } }
        }
        """

    @Test("says who has sent which headers, and what the proxy's configuration says besides")
    func read() throws {
        try withBytes(try encode(whole)) { bytes in
            let request = try CheckRequest(protobuf: bytes)
            #expect(request.peer == .address(try #require(IPAddress("192.0.2.7"))))
            #expect(request.values(of: .userID) == ["ada"])
            #expect(request.values(of: try #require(HeaderName("X-MODEL"))) == ["gpté"])
            #expect(request.values(of: try #require(HeaderName("X-Empty"))) == [""])
            #expect(request.values(of: try #require(HeaderName("X-User"))) == [])
            #expect(request.contextExtension("group") == "red")
            #expect(request.contextExtension("empty") == nil && request.contextExtension("Group") == nil)
        }
    }

    @Test("names nobody at an address where the proxy's client is on a Unix socket, or no address is said")
    func peers() throws {
        for text in [
            "", "attributes { source { address { pipe { path: '/s' } } } }",
            "attributes { source { address { socket_address { address: 'not one' } } } }",
            "attributes { destination { address { socket_address { address: '192.0.2.8' } } } }",
        ] {
            try withBytes(try encode(text)) { bytes in
                let request = try CheckRequest(protobuf: bytes)
                #expect(request.peer == .unixSocket, "\(text)")
            }
        }
    }

    @Test(
        "has headers as they came where the proxy sends them so, each as often as it came, and what is no UTF-8 as that"
    )
    func rawHeaders() throws {
        let text = """
            attributes { request { http { header_map {
              headers { key: 'X-User-Id' raw_value: 'ada' } headers { key: 'x-user-id' value: 'bob' }
              headers { key: 'x-model' raw_value: '\\377' }
            } } } }
            """
        try withBytes(try encode(text)) { bytes in
            let request = try CheckRequest(protobuf: bytes)
            #expect(request.values(of: .userID) == ["ada", "bob"])
            #expect(request.values(of: try #require(HeaderName("x-model"))) == ["\u{fffd}"])
        }
    }

    @Test("is none where it ends within a field, at whichever byte, and may say a message in parts")
    func truncated() throws {
        let message = try encode(whole)
        var count = 0
        for length in 1..<message.count {
            withBytes(Array(message.prefix(length))) { bytes in
                do throws(GRPCError) {
                    _ = try CheckRequest(protobuf: bytes)
                } catch {
                    count += error.code == .internalError ? 1 : 0
                }
            }
        }
        // It has two fields: between them it is whole.
        #expect(count == message.count - 2)
        let parts = try encode("attributes { source { address { socket_address { address: '192.0.2.7' } } } }")
        try withBytes(
            parts + (try encode("attributes { request { http { headers { key: 'x-user-id' value: 'ada' } } } }"))
        ) {
            let request = try CheckRequest(protobuf: $0)
            #expect(request.peer != .unixSocket && request.values(of: .userID) == ["ada"])
        }
    }

    @Test("has at most so many headers and context extensions")
    func bounds() throws {
        let entry = Protoc.field(1, Array("k".utf8))
        func request(headers: Int, extensions: Int) -> [UInt8] {
            let http = (0..<headers).flatMap { _ in Protoc.field(3, entry) }
            let context = (0..<extensions).flatMap { _ in Protoc.field(10, entry) }
            return Protoc.field(1, Protoc.field(4, Protoc.field(2, http)) + context)
        }
        for (headers, extensions, isTaken) in [(1_024, 1_024, true), (1_025, 0, false), (0, 2_000, false)] {
            withBytes(request(headers: headers, extensions: extensions)) { bytes in
                do throws(GRPCError) {
                    let request = try CheckRequest(protobuf: bytes)
                    #expect(isTaken && request.values(of: .userID).isEmpty)
                } catch {
                    #expect(!isTaken && error.code == .invalidArgument)
                }
            }
        }
    }
}

@Suite("A CheckResponse")
struct CheckResponseTests {
    private func text(_ write: (inout ByteBuffer) -> Void) throws -> String {
        var message = ByteBuffer()
        write(&message)
        return try #require(Protoc.decode([Array(message.readableBytesView)], as: "CheckResponse").first)
    }

    private func option(_ name: String, _ value: String) -> String {
        """
        { header { key: "\(name)" value: "\(value)" } append_action: OVERWRITE_IF_EXISTS_OR_ADD }
        """
    }

    @Test("hands on what /v1/auth answers: its status, its headers, and its body where it denies")
    func denied() throws {
        let answers = AuthorizationAnswers(limitName: "requests")
        let text = try text { CheckResponse.write(answers.answer(CallerProblem.nobody), to: &$0) }
        let detail = "Nobody is named: there is no user header, no token that counts, and no address."
        #expect(
            text == """
                status { code: 7 } denied_response { status { code: Forbidden } \
                headers \(option("content-type", "application/problem+json")) \
                headers \(option("x-rate-limit-status", "403")) \
                headers \(option("x-rate-limit-message", detail)) \
                body: "{\\"title\\":\\"Forbidden\\",\\"status\\":403,\\"detail\\":\\"\(detail)\\"}" }
                """)
    }

    @Test("that refuses without Redis says so and when to come again; one that allows has headers for the client alone")
    func degraded() throws {
        let answers = AuthorizationAnswers(limitName: "requests")
        let closed = Outcome(.refused, source: .failureMode, degradedReason: .redisTimeout)
        let refused = try text { CheckResponse.write(answers.answer(closed), to: &$0) }
        #expect(refused.hasPrefix("status { code: 14 } denied_response { status { code: ServiceUnavailable }"))
        #expect(refused.contains("headers \(option("retry-after", "1"))"))
        #expect(refused.contains("headers \(option("x-rate-limit-degraded", "redis_timeout"))"))
        let open = Outcome(.allowed, source: .failureMode, degradedReason: .redisTimeout)
        let allowed = try text { CheckResponse.write(answers.answer(open), to: &$0) }
        #expect(
            allowed == """
                status { } ok_response { response_headers_to_add \(option("x-rate-limit-degraded", "redis_timeout")) }
                """)
    }
}
