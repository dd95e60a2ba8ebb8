import ArgumentParser
import Testing

@testable import llm_rate_limit

#if canImport(Glibc)
    import Glibc
#endif

@Suite("config --import envoy")
struct ImportTests {
    /// A file that is gone when the test is.
    private func withFile<Value>(_ text: String, _ body: (String) throws -> Value) throws -> Value {
        var template = Array("/tmp/lrl-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        try #require(descriptor >= 0)
        let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        defer { unlink(path) }
        let bytes = Array(text.utf8)
        try #require(write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
        return try body(path)
    }

    private let file = """
        domain: edge
        descriptors:
          - key: user
            rate_limit: {unit: minute, requests_per_unit: 20}
          - key: remote_address
            rate_limit: {unit: second, requests_per_unit: 10}
        """

    @Test("prints a limits file, and warns of what has no counterpart")
    func printed() throws {
        let report = try withFile(file) { try ConfigCommand.parse(["--import", "envoy", $0]).report(environment: [:]) }
        #expect(report.exitCode == .success)
        #expect(
            report.errors == [
                "Warning: no counterpart of edge: remote_address: calls say no address; /v1/auth",
                "  limits whoever has no name by it",
            ])
        #expect(report.output.allSatisfy { $0.split(separator: "\n").allSatisfy { $0.count <= 80 } })
        let lines = report.output.joined().split(separator: "\n")
        #expect(
            lines.suffix(5) == [
                "  - name: \"user\"", "    per: user", "    unit: requests", "    quota: 20", "    window: 1m",
            ])
    }

    @Test("with --check prints the warnings alone")
    func check() throws {
        let report = try withFile(file) {
            try ConfigCommand.parse(["--import", "envoy", "--check", $0]).report(environment: [:])
        }
        #expect(report.output.isEmpty && report.errors.count == 2 && report.exitCode == .success)
    }

    @Test("exits with 78 where the configuration cannot be used")
    func refused() throws {
        let (report, path) = try withFile("domain: edge\ndescriptor: []") {
            (try ConfigCommand.parse(["--import", "envoy", $0]).report(environment: [:]), $0)
        }
        #expect(
            report
                == CommandReport(
                    errors: [
                        "Error: cannot read \(path): line 2: the file has no key descriptor, did you mean descriptors?: accepted "
                            + "are domain, descriptors"
                    ], exitCode: .badConfiguration))
    }

    @Test("needs a path, and goes with no other output")
    func usage() {
        for arguments in [
            ["--import", "envoy"], ["path"], ["--import", "other", "p"], ["--import", "envoy", "p", "--json"],
        ] {
            #expect(throws: (any Error).self) { try ConfigCommand.parse(arguments) }
        }
    }
}
