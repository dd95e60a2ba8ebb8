import LimitsFile
import TestSupport
import Testing

@testable import DaemonConfiguration

@Suite("The options of the gRPC door")
struct GRPCOptionTests {
    private let folder = TemporaryFolder()

    private func load(_ flags: [OptionName: String]) throws -> ResolvedConfiguration {
        try ConfigurationLoader(flags: flags, environment: [:]).load()
    }

    private func problem(_ flags: [OptionName: String]) throws -> ConfigurationProblem {
        let error = try #require(throws: ConfigurationError.self) { try load(flags) }
        try #require(error.problems.count == 1)
        return error.problems[0]
    }

    @Test("name a socket and an address of their own")
    func places() throws {
        let settings = try load([.grpcSocket: "/run/grpc.sock", .grpcListen: "127.0.0.1:8081"]).settings
        #expect(settings.grpcSocketPath == "/run/grpc.sock")
        #expect(settings.grpcListenAddress.map { "\($0)" } == "127.0.0.1:8081")
        #expect(try load([:]).settings.grpcSocketPath == nil)
        let taken = try problem([.grpcSocket: "/run/a.sock", .socket: "/run/a.sock"])
        #expect(taken.option == .grpcSocket && taken.reason == "it is the path of LLM_RATE_LIMIT_SOCKET too")
        let admin = try problem([.grpcSocket: "/run/a.sock", .adminSocket: "/run/a.sock"])
        #expect(admin.option == .grpcSocket && admin.reason == "it is the path of LLM_RATE_LIMIT_ADMIN_SOCKET too")
        let open = try problem([.grpcListen: "0.0.0.0:8081"])
        #expect(open.option == .grpcListen && open.reason == "other machines can reach it")
        #expect(try load([.grpcListen: "0.0.0.0:8081", .listenPublic: "yes"]).settings.isListenPublic)
    }

    @Test("take certificate and key together")
    func certificates() throws {
        let half = try problem([.grpcListen: "127.0.0.1:8081", .grpcCertificateFile: "/cert.pem"])
        #expect(half.option == .grpcCertificateFile && half.reason == "LLM_RATE_LIMIT_GRPC_KEY_FILE is missing")
        let key = try problem([.grpcListen: "127.0.0.1:8081", .grpcKeyFile: "/key.pem"])
        #expect(key.option == .grpcKeyFile && key.reason == "LLM_RATE_LIMIT_GRPC_CERT_FILE is missing")
        let clients = try problem([.grpcListen: "127.0.0.1:8081", .grpcClientCAFile: "/ca.pem"])
        #expect(clients.option == .grpcClientCAFile && clients.reason == "LLM_RATE_LIMIT_GRPC_CERT_FILE is missing")
        let authority = try CertificateAuthority()
        let certificate = try authority.issue("server")
        var flags: [OptionName: String] = [
            .grpcListen: "127.0.0.1:8081", .grpcCertificateFile: certificate.file, .grpcKeyFile: certificate.keyFile,
            .grpcClientCAFile: authority.file,
        ]
        #expect(try load(flags).settings.grpcTLS != nil)
        // Each file is tried before anybody is served.
        for (option, reason) in [
            (OptionName.grpcCertificateFile, "it holds no PEM certificate"),
            (.grpcKeyFile, "it holds no PEM key that needs no passphrase"),
            (.grpcClientCAFile, "it holds no PEM certificate"),
        ] {
            var broken = flags
            broken[option] = folder.write("broken.pem", "nothing\n")
            let found = try problem(broken)
            #expect(found.option == option && found.reason == reason)
        }
        flags[.grpcCertificateFile] = "/nowhere/cert.pem"
        #expect(try problem(flags).reason == "No such file or directory")
    }

    @Test("warn of what is not used")
    func unused() throws {
        let file = folder.write("limits.yaml", "domain: a\n")
        let unused = try load([.envoyConfig: file]).warnings
        #expect(unused.count == 1 && unused[0].hasPrefix("LLM_RATE_LIMIT_ENVOY_CONFIG is not used: neither"))
        let authority = try CertificateAuthority()
        let certificate = try authority.issue("server")
        let clear = try load([
            .grpcSocket: "/run/grpc.sock", .grpcCertificateFile: certificate.file, .grpcKeyFile: certificate.keyFile,
        ])
        #expect(
            clear.warnings == [
                "LLM_RATE_LIMIT_GRPC_CERT_FILE is not used: LLM_RATE_LIMIT_GRPC_LISTEN names no address"
            ], "by \(authority.file)")
        let uids = try load([.grpcListen: "127.0.0.1:8081", .allowedUIDs: "0"]).warnings
        #expect(uids.count == 1 && uids[0].contains("LLM_RATE_LIMIT_GRPC_LISTEN=127.0.0.1:8081: TCP knows no users"))
    }

    @Test("read files again that have changed, and keep what there was where they cannot be used")
    func reload() throws {
        let rule = { (quota: Int) in
            "domain: a\ndescriptors:\n  - key: user\n    rate_limit: {unit: hour, requests_per_unit: \(quota)}\n"
        }
        let file = folder.write("limits.yaml", rule(5))
        let loader = ConfigurationLoader(flags: [.envoyConfig: file, .grpcSocket: "/run/g.sock"], environment: [:])
        let start = try loader.load()
        _ = folder.write("limits.yaml", rule(7))
        for reloaded in [loader.reload(replacing: start), loader.reload(.descriptors, replacing: start)] {
            #expect(reloaded.failures.isEmpty)
            #expect(reloaded.changes == ["what LLM_RATE_LIMIT_ENVOY_CONFIG says"])
            #expect(reloaded.configuration.settings.descriptors != start.settings.descriptors)
        }
        _ = folder.write("limits.yaml", "domain: a\nnonsense: b\n")
        for reloaded in [loader.reload(replacing: start), loader.reload(.descriptors, replacing: start)] {
            #expect(reloaded.failures[.descriptors]?.problems.count == 1 && reloaded.failures.count == 1)
            #expect(reloaded.configuration.settings.descriptors == start.settings.descriptors)
        }
    }

    @Test("A folder's state tells of the files in it")
    func folders() throws {
        let other = TemporaryFolder()
        let first = FileState(path: other.path)
        let file = other.write("a.yaml", "domain: a\n")
        let second = FileState(path: other.path)
        #expect(first != second)
        _ = other.write("a.yaml", "domain: ab\n")
        #expect(FileState(path: other.path) != second)
        #expect(FileState(path: file) != nil && FileState(path: other.path + "/nothing") == nil)
    }

    @Test("The files of a folder that are watched are those that are read, however many others stand in it")
    func watchedIsRead() throws {
        let other = TemporaryFolder()
        for number in 0..<1_100 { _ = other.write("\(number).txt", "") }
        for name in ["a.yaml", "b.yml", ".hidden.yaml", "notes.txt"] { _ = other.write(name, "domain: \(name)\n") }
        let read = try EnvoyConfiguration(readingAt: other.path).files.map {
            String($0.dropFirst(other.path.count + 1))
        }
        #expect(read == ["a.yaml", "b.yml"])
        for name in ["a.yaml", "b.yml", ".hidden.yaml", "notes.txt"] {
            let before = FileState(path: other.path)
            // The folder itself stays as it is: no name comes or goes.
            _ = other.write(name, "domain: changed\n")
            #expect((FileState(path: other.path) != before) == read.contains(name), "\(name)")
        }
    }
}
