import Foundation
import TestSupport
import Testing

/// A chart that has this one as its dependency, made of the files that the page Kubernetes shows.
@Suite("The chart in a chart of one's own", .serialized, .needs("packages/helm"))
struct DependencyTests {
    private static let page = readFile(
        "\(projectFolder)/Sources/llm-rate-limit/LLMRateLimit.docc/Kubernetes.md")

    /// The page's blocks of YAML: the dependency, the values and the pod.
    private static let blocks = page.components(separatedBy: "```yaml\n").dropFirst().map {
        $0.components(separatedBy: "```")[0]
    }

    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try #require(Self.blocks.count == 3)
        for name in ["templates", "charts"] {
            try FileManager.default.createDirectory(
                atPath: folder.file(name), withIntermediateDirectories: false)
        }
        try FileManager.default.copyItem(atPath: Helm.chart, toPath: folder.file("charts/llm-rate-limit"))
        try folder.write("apiVersion: v2\nname: my-gateway\nversion: 1.0.0\n\(Self.blocks[0])", to: "Chart.yaml")
        try folder.write(Self.blocks[1], to: "values.yaml")
        try folder.write(Self.blocks[2], to: "templates/deployment.yaml")
    }

    @Test("What the page shows is a chart: the daemon beside a gateway of one's own, and no other gateway")
    func page() throws {
        #expect(try Helm.lint(folder.path) == [])
        let rendered = try Helm.render(chart: folder.path)
        #expect(try Helm.problem(of: rendered.objects) == nil)
        #expect(rendered.objects.map { $0["kind"].text } == ["ConfigMap", "Deployment"])
        let own = try Helm.render("gateway: {enabled: false}")
        #expect(own.objects.isEmpty && own.notes.contains("llm-rate-limit.container"))

        let alone = try Helm.render(
            "{redis: {url: 'redis://redis:6379/0'}, limits: 'limits: []'}")
        #expect(rendered.variables == alone.variables && rendered.variables.count == 3)
        #expect(rendered.daemon["restartPolicy"].text == "Always")
        let gateway = rendered.pod["containers"].list[0]
        #expect(gateway["volumeMounts"].named("llm-rate-limit")["mountPath"].text == "/run/llm-rate-limit")
        #expect(rendered.pod["securityContext"]["fsGroup"].number == 65532)
        // What is mounted is there.
        let volumes = rendered.pod["volumes"]
        let map = volumes.named("llm-rate-limit-limits")["configMap"]["name"].text ?? ""
        let limits = try #require(rendered.object("ConfigMap", map)["data"]["limits.yaml"].text)
        let check = try ChildProcess(
            Daemon.program, ["config", "--check", "--limits-file", try folder.write(limits, to: "limits.yaml")])
        #expect(try check.wait() == 0 && limits.contains("name: tokens"), "\(check.errors)")
        for mount in rendered.daemon["volumeMounts"].list {
            #expect(volumes.named(mount["name"].text ?? "").value != nil, "\(mount)")
        }
    }

    @Test("A value of the dependency that is misspelt, or contradicts another, is refused there too")
    func refused() throws {
        for (values, text) in [
            ("llm-rate-limit: {rediss: {}}", "additional properties 'rediss' not allowed"),
            ("llm-rate-limit: {limitsConfigMap: a}", "cannot use limits together with limitsConfigMap"),
        ] {
            let refusal = try Helm.refusals(of: [values], chart: folder.path)[0]
            #expect(refusal?.contains(text) == true, "\(refusal ?? "accepted")")
        }
        // What is for all charts of a release is none of this one's.
        #expect(try Helm.refusals(of: ["global: {registry: a}"], chart: folder.path) == [nil])
    }

    @Test("What the page installs is what the chart takes, and its versions are the chart's")
    func install() throws {
        let values = Self.page.components(separatedBy: "<<'END'\n")[1].components(separatedBy: "\nEND")[0]
        let rendered = try Helm.render(values)
        #expect(rendered.daemon["image"].text?.hasPrefix("registry.example.com/llm-rate-limit:") == true)
        #expect(rendered.variables["LLM_RATE_LIMIT_REDIS_URL"] == "redis://redis:6379/0")
        let version = readFile("\(Helm.chart)/Chart.yaml").firstMatch(of: /\nversion: (\S+)\n/)?.1
        #expect(Self.blocks[0].contains("version: \(version ?? "?"),"))
        // What is pushed is the image that the chart asks for.
        #expect(Self.page.contains("$ docker push \(rendered.daemon["image"].text ?? "?")\n"))
        // The table's values are of the schema.
        for value in ["gateway.drainSeconds", "gateway.replicas", "redis.login", "redis.tls", "listen.port", "tokens"] {
            #expect(Self.page.contains("`\(value)`"))
            let schema = try JSONSerialization.jsonObject(
                with: Data(readFile("\(Helm.chart)/values.schema.json").utf8))
            let found = value.split(separator: ".").reduce(Manifest(value: schema)) { $0["properties"]["\($1)"] }
            #expect(found.value != nil, "\(value)")
        }
    }

    @Test("The daemon has more memory than the benchmark saw it take")
    func memory() throws {
        let performance = readFile("\(projectFolder)/Sources/llm-rate-limit/LLMRateLimit.docc/Performance.md")
        let match = try #require(performance.firstMatch(of: #/RSS at 256 connections, MiB +\|[^|]+\| +([0-9.]+)/#))
        let seen = try #require(Double(match.1))
        let resources = try Helm.render().daemon["resources"]
        let asked = try #require(resources["requests"]["memory"].text.flatMap { Double($0.dropLast(2)) })
        let most = try #require(resources["limits"]["memory"].text.flatMap { Double($0.dropLast(2)) })
        #expect(asked > seen && most > 2 * seen)
    }
}
