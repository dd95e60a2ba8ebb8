import Foundation
import Glibc
import TestSupport
import Testing

/// The Compose file at work: Docker's own Compose with Podman as its engine, and the daemon's image as it was built.
///
/// The other images are of registries, which the tests do not reach. In their place are empty ones of the same names, in
/// which the same programs of this machine are mounted; Grafana is left out.
@Suite("Compose at work", .serialized, .needsPackages, .needsTool("packages/helm", "gateways/envoy", "monitoring"))
struct ComposeRunTests {
    private let podman: Podman
    private let engine: ChildProcess
    private let socket: String

    init() throws {
        podman = try Podman(hasNetwork: true)
        socket = podman.folder.file("engine")
        engine = try podman.start(["podman", "system", "service", "--time=0", "unix://\(socket)"])
        guard eventually(within: 30, { [socket] in FileManager.default.fileExists(atPath: socket) }) else {
            throw TestFailure("podman does not serve: \(engine.errors)")
        }
    }

    /// Runs a command of the page Install, with a file in place of the one that it names.
    private func run(_ command: String, _ file: String) throws -> String {
        let compose = "docker-compose --project-directory deploy/compose --project-name limited --file '\(file)'"
        let script = "cd '\(projectFolder)'\ndocker() { shift 3; \(compose) \"$@\"; }\n\(command)"
        let process = try podman.start(["bash", "-c", script], ["DOCKER_HOST": "unix://\(socket)"])
        guard try process.wait(seconds: 300) == 0 else { throw TestFailure(process.errors + process.output) }
        return process.output
    }

    /// Runs another command of Compose's.
    private func compose(_ file: String, _ command: String) throws -> String {
        try run("docker compose --file - \(command)", file)
    }

    /// Asks a port of the machine: the status, the headers and the body.
    private func ask(_ address: String, _ headers: String...) throws -> String {
        let curl = try podman.start(
            ["curl", "--silent", "--show-error", "--include"] + headers.flatMap { ["--header", $0] }
                + ["http://127.0.0.1:\(address)"])
        guard try curl.wait(seconds: 60) == 0 else { throw TestFailure(curl.errors) }
        return curl.output
    }

    /// Makes an empty image in place of a registry's, which has this entry point.
    private func makeImage(_ name: String, entryPoint: String?) throws {
        let root = podman.folder.file("empty")
        if !FileManager.default.fileExists(atPath: root) {
            for name in ["data", "prometheus", "tmp", "usr/local/bin", "lib", "lib64", "bin", "etc"] {
                try FileManager.default.createDirectory(atPath: "\(root)/\(name)", withIntermediateDirectories: true)
            }
        }
        let tar = try ChildProcess("tar", ["--create", "--directory", root, "--file", "\(root).tar", "."])
        #expect(try tar.wait() == 0, "\(tar.errors)")
        let change = entryPoint.map { ["--change", "ENTRYPOINT [\"\($0)\"]"] } ?? []
        try podman.must(["import"] + change + ["\(root).tar", "docker.io/\(name)"])
    }

    /// The Compose file with what this machine has in place of what it has not.
    private func changed() throws -> String {
        var file = try ComposeFile()
        file.services["grafana"] = nil
        let libraries = ["/lib:/lib:ro", "/lib64:/lib64:ro"]
        let python = "\(projectFolder)/.build/gateways/envoy/bin/python"
        let find = try ChildProcess(python, ["-c", "import envoy; print(envoy.__path__[0])"])
        #expect(try find.wait() == 0, "\(find.errors)")
        let envoy = find.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let programs: [String: (volumes: [String], entryPoint: String?)] = [
            "redis": (["/usr:/usr:ro"], nil), "model": (["/usr:/usr:ro"], nil),
            "envoy": (["\(envoy)/_bin:/usr/local/bin:ro"], "/usr/local/bin/envoy"),
            "prometheus": (["\(projectFolder)/.build/monitoring:/bin:ro"], "/bin/prometheus"),
        ]
        for (name, program) in programs {
            var service = try #require(file.services[name])
            let image = try #require(service["image"] as? String)
            try makeImage(image.contains("/") ? image : "library/\(image)", entryPoint: program.entryPoint)
            service["volumes"] = (service["volumes"] as? [String] ?? []) + libraries + program.volumes
            file.services[name] = service
        }
        let text = try JSONSerialization.data(withJSONObject: file.value)
        return try podman.folder.write(String(decoding: text, as: UTF8.self), to: "changed.yaml")
    }

    @Test("Compose takes the file as it is, by its own schema")
    func valid() throws {
        let text = try compose(ComposeFile.path, "config")
        for service in try ComposeFile().services.keys { #expect(text.contains("\n  \(service):")) }
    }

    @Test("A user of Envoy's is let through to the model and then denied, and Prometheus sees it")
    func run() throws {
        // The tag that Docker's names mean.
        try podman.must(["tag", Packages.imageName, "docker.io/library/\(Packages.imageName)"])
        let file = try changed()
        let examples = try #require(InstallPage.sections["Compose"]?.first)
        try #require(examples.count == 3)
        _ = try run(examples[0].command, file)
        func models(as user: String) throws -> String { try ask("8080/v1/models", "X-User-Id: \(user)") }
        let isDecided = eventually(within: 60) {
            (try? models(as: newUser())).map { $0.hasPrefix("HTTP/1.1 200") && $0.contains("r=19") } == true
        }
        let logs = try compose(file, "logs")
        try #require(isDecided, "\(logs)")
        let statuses = try (0..<21).map { _ in try models(as: "ada").split(separator: " ")[1] }
        #expect(statuses == [Substring](repeating: "200", count: 20) + ["429"])
        #expect(try models(as: "ada").contains("Try again in"))
        #expect(try run(examples[1].command, file).hasPrefix("HTTP/1.1 429"))
        _ = try compose(file, "exec -T llm-rate-limit llm-rate-limit health --require-redis")

        let isSeen = try eventually(within: 60) {
            try ask("9090/api/v1/query?query=llm_rate_limit_enforcing").contains("\"1\"]")
        }
        let rules = try ask("9090/api/v1/rules")
        #expect(isSeen && rules.contains("\"name\":\"RateLimitDown\"") && !rules.contains("\"health\":\"err\""))

        // Podman does not remove a container before those that share its network, for which this Compose does not wait.
        if (try? run(examples[2].command, file)) == nil { _ = try run(examples[2].command, file) }
        #expect(try podman.must(["container", "list", "--all", "--quiet"]) == "")
        #expect(try podman.must(["volume", "list", "--quiet"]) == "")
    }
}
