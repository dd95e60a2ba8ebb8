import Foundation
import TestSupport
import Testing

/// The Python client, as the wheel that users get.
@Suite("The Python client", .serialized, .needs("build"))
struct PythonClientTests {
    @Test("The wheel is built, installed into a fresh environment, and passes its tests with real daemons there")
    func wheel() throws {
        let folder = try TemporaryFolder()
        let wheel = try PythonEnvironment.wheel(in: folder)
        let fresh = folder.file("fresh")
        try PythonEnvironment.run("python3", ["-m", "venv", fresh])
        let interpreter = fresh + "/bin/python"
        try PythonEnvironment.install(wheel, into: interpreter)
        // It brings nothing with it, and its types.
        let installed = try PythonEnvironment.run(
            interpreter,
            [
                "-c",
                """
                import importlib.metadata as m, pathlib, llm_rate_limit_client as c
                print(m.requires("llm-rate-limit-client"), (pathlib.Path(c.__file__).parent / "py.typed").exists(), c.__file__)
                """,
            ])
        #expect(installed.hasPrefix("None True \(fresh)"), "\(installed)")

        #expect(try PythonEnvironment.test("test_wire", with: interpreter, seconds: 60) > 5)
        #expect(try PythonEnvironment.test("test_values", with: interpreter, seconds: 60) > 15)
        #expect(try PythonEnvironment.test("test_client", with: interpreter, seconds: 400) > 35)
    }

    @Test("Types and style are as they should be")
    func style() throws {
        let build = try PythonEnvironment.interpreter(of: "build")
        let folder = try TemporaryFolder()
        let copy = try PythonEnvironment.copy(to: folder)
        let configuration = "\(copy)/pyproject.toml"
        try PythonEnvironment.run(
            build,
            ["-m", "mypy", "--config-file", configuration, "--cache-dir", "/dev/null", "\(copy)/src", "\(copy)/tests"],
            variables: ["MYPYPATH": "\(copy)/src:\(copy)"], seconds: 300)
        try PythonEnvironment.run(build, ["-m", "ruff", "check", "--no-cache", copy])
        try PythonEnvironment.run(
            build, ["-m", "ruff", "format", "--check", "--no-cache", copy])
    }
}

/// The filter for Open WebUI's admin page, in Open WebUI's own code.
@Suite("Open WebUI", .serialized, .needs("build", "open-webui"))
struct OpenWebUITests {
    @Test("Its filter limits calls, tool rounds among them, charges them really, and goes on without daemon and Redis")
    func filter() throws {
        let interpreter = try PythonEnvironment.interpreter(of: "open-webui")
        #expect(try PythonEnvironment.test("test_open_webui", with: interpreter, seconds: 400) > 30)
    }

    @Test("Types and style of the file are as they should be")
    func style() throws {
        let build = try PythonEnvironment.interpreter(of: "build")
        let folder = PythonEnvironment.openWebUI
        let configuration = "\(folder)/pyproject.toml"
        try PythonEnvironment.run(
            build,
            ["-m", "mypy", "--config-file", configuration, "--cache-dir", "/dev/null", "\(folder)/llm_rate_limit.py"],
            seconds: 300)
        try PythonEnvironment.run(build, ["-m", "ruff", "check", "--no-cache", folder])
        try PythonEnvironment.run(build, ["-m", "ruff", "format", "--check", "--no-cache", folder])
    }
}

/// Real LiteLLM proxies with the callback of the Python client.
@Suite("LiteLLM", .serialized, .needs("build", "litellm"))
struct LiteLLMTests {
    @Test("Two proxies over one Redis are limited exactly, charged really, and go on without daemon and Redis")
    func proxies() throws {
        let interpreter = try PythonEnvironment.interpreter(of: "litellm")
        let folder = try TemporaryFolder()
        try PythonEnvironment.install(PythonEnvironment.wheel(in: folder), into: interpreter)
        #expect(try PythonEnvironment.test("test_litellm", with: interpreter, seconds: 1_200) > 20)
    }
}
