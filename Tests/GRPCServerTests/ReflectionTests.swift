import Foundation
import NIOCore
import TestSupport
import Testing

@testable import GRPCServer

@Suite("Reflection")
struct ReflectionTests {
    private static let protos =
        #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
        + "/Sources/GRPCServer/Protos"

    /// The definitions in `Protos`, compiled now.
    private func compiled() throws -> [DescribedFile] {
        let folder = try TemporaryFolder()
        let files = try FileManager.default.subpathsOfDirectory(atPath: Self.protos).filter { $0.hasSuffix(".proto") }
        let process = try ChildProcess(
            "protoc",
            ["--proto_path=\(Self.protos)", "--descriptor_set_out=\(folder.file("set"))", "--include_imports"]
                + files.sorted())
        let code = try process.wait()
        try #require(code == 0, "\(process.errors)")
        return try DescribedFile.files(of: Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("set")))))
    }

    @Test("tells the definitions as they are written: services.bin is what protoc makes of them")
    func services() throws {
        // What comes with protoc is of its version.
        func own(_ files: [DescribedFile]) -> [String: [UInt8]] {
            let own = files.filter { !$0.name.hasPrefix("google/protobuf/") }
            return Dictionary(own.map { ($0.name, $0.bytes) }) { first, _ in first }
        }
        let builtIn = try DescribedFile.files(of: PackageResources.services_bin)
        #expect(
            own(builtIn) == own(try compiled()),
            """
            in Sources/GRPCServer/Protos: protoc --proto_path=. --include_imports --descriptor_set_out=services.bin \
            $(find * -name '*.proto')
            """)
        #expect(Set(builtIn.map(\.name)).isSuperset(of: builtIn.flatMap(\.imports)), "an import is missing")
    }

    @Test("finds a file by each kind of symbol, with all that it imports")
    func symbols() throws {
        let known = DescribedServices.known
        for symbol in [
            "envoy.service.ratelimit.v3.RateLimitService",
            "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit",
            "envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit",
        ] {
            let files = try #require(known.file(defining: symbol))
            #expect(files.first?.name == "envoy/service/ratelimit/v3/rls.proto")
            #expect(
                Set(files.dropFirst().map(\.name)) == [
                    "envoy/config/core/v3/base.proto", "envoy/extensions/common/ratelimit/v3/ratelimit.proto",
                    "envoy/type/v3/ratelimit_unit.proto", "google/protobuf/duration.proto",
                    "google/protobuf/struct.proto", "google/protobuf/wrappers.proto",
                ])
        }
        #expect(known.file(defining: "envoy.type.v3.RateLimitUnit") != nil)
        #expect(known.file(defining: "envoy.service.ratelimit.v3") == nil)
        #expect(known.file(named: "rls.proto") == nil)
    }

    @Test("answers what it does not know, and what is no question, with an error and goes on")
    func unknown() async throws {
        let path = ReflectionMethod.paths[0]
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            defer { client.close() }
            client.send(.headers(1, EmbeddedClient.call(path)))
            for question: [UInt8] in [[0x22, 1, 0x78], [0x1a, 1, 0x78], [0x2a, 0], []] {
                client.send(.data(1, framed(question), ends: false))
            }
            client.send(.data(1, framed([0x3a, 0])))
            let text = String(decoding: client.answer(1).message, as: UTF8.self)
            #expect(text.contains("no symbol is named x") && text.contains("no file is named x"))
            #expect(text.contains("there are no extensions") && text.contains("nothing is asked"))
            #expect(text.contains("grpc.health.v1.Health"))
            #expect(client.answer(1).code == 0)
            // Bytes that are no message.
            client.send(.headers(3, EmbeddedClient.call(path)), .data(3, framed([0xff]), ends: false))
            #expect(client.answer(3).code == 13)
            #expect(!client.isClosed)
        }
    }

    @Test("ends a call that takes none of its answers, at 256 KiB, and stays within the window of the client")
    func unreadAnswers() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect(saysHello: false)
            defer { client.close() }
            client.send(Frame.preface + Frame.settings([(4, 100)]).bytes)
            client.send(.headers(1, EmbeddedClient.call(ReflectionMethod.paths[0])))
            let question = Array("\u{22}\u{2b}envoy.service.ratelimit.v3.RateLimitService".utf8)
            for _ in 0..<1_000 { client.send(.data(1, framed(question), ends: false)) }
            #expect(client.frames.filter { $0.kind == .data }.map(\.payload.count).reduce(0, +) == 100)
            client.send(.windowUpdate(1, 1 << 20), .windowUpdate(0, 1 << 20))
            #expect(client.answer(1).code == 8)
            #expect(client.answer(1).message.count < HTTP2Bounds.streamedBytes)
        }
    }
}
