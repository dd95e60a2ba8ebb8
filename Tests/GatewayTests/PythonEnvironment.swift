import Foundation
import TestSupport
import Testing

/// The gateways' tests that are written in Python, run in the environments that `scripts/setup-gateways` makes.
enum PythonEnvironment {
    /// The folder of the Python package.
    static let package = root + "/deploy/python"
    /// The folder of the filter for Open WebUI.
    static let openWebUI = root + "/deploy/open-webui"

    private static let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

    /// The interpreter of one environment, by its name.
    static func interpreter(of name: String) throws -> String {
        guard isGatewayThere(name) else { throw TestFailure("there is no environment \(name) in \(gatewaysFolder)") }
        return "\(gatewaysFolder)/\(name)/bin/python"
    }

    /// Runs a Python program to its end and gives what it said.
    ///
    /// - Parameters:
    ///   - arguments: what stands behind the interpreter.
    ///   - variables: its environment. None has the interpreter's files compiled, so that proxies start fast.
    @discardableResult
    static func run(
        _ interpreter: String, _ arguments: [String], variables: [String: String] = [:], seconds: Double = 120
    ) throws -> String {
        let process = try ChildProcess(interpreter, arguments, environment: variables)
        let code = try process.wait(seconds: seconds)
        guard code == 0 else {
            throw TestFailure("\(arguments) ended with \(code):\n\(process.output)\n\(process.errors)")
        }
        return process.output + process.errors
    }

    /// A copy of the package's sources in `folder`: building leaves its own files beside them.
    static func copy(to folder: TemporaryFolder) throws -> String {
        let copy = folder.file("package")
        try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
        for name in ["pyproject.toml", "README.md", "src", "tests", "bench"] {
            try FileManager.default.copyItem(atPath: "\(package)/\(name)", toPath: "\(copy)/\(name)")
        }
        return copy
    }

    /// Builds the wheel and gives its path.
    static func wheel(in folder: TemporaryFolder) throws -> String {
        let build = try interpreter(of: "build")
        let source = try copy(to: folder)
        let made = folder.file("wheels")
        try run(
            build,
            ["-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps", "-w", made, source]
        )
        let names = try FileManager.default.contentsOfDirectory(atPath: made)
        return "\(made)/\(try #require(names.first { $0.hasSuffix(".whl") }))"
    }

    /// Installs a wheel, in place of the one that is installed.
    static func install(_ wheel: String, into interpreter: String) throws {
        try run(
            interpreter,
            ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", wheel]
        )
    }

    /// Runs the tests of one module, which start daemons of their own; gives how many passed.
    static func test(_ module: String, with interpreter: String, seconds: Double) throws -> Int {
        // Away from the sources: what is imported is what was installed.
        let output = try run(
            interpreter, ["-m", "unittest", "--verbose", "tests.\(module)"],
            variables: ["PYTHONPATH": package, "LLM_RATE_LIMIT_TEST_PROGRAM": Daemon.program, "HOME": "/tmp"],
            seconds: seconds
        )
        let count = try #require(output.firstMatch(of: /Ran (\d+) tests?/), "\(output)").1
        #expect(!output.contains("skipped"), "\(output)")
        return Int(count) ?? 0
    }
}
