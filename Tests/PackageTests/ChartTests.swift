import Foundation
import TestSupport
import Testing

@testable import DaemonConfiguration
@testable import llm_rate_limit

/// The chart of `deploy/helm` under the real Helm, and what it renders held against Kubernetes's own schemas.
@Suite("The Helm chart", .serialized, .needs("packages/helm"))
struct ChartTests {
    /// Values with everything that the chart can mount and set.
    static let whole = """
        redis:
          url: rediss+sentinel://one:26380,two/mymaster/0
          login: {secret: redis, userKey: user, sentinelPasswordKey: sentinels}
          tls: {secret: redis-tls, certKey: tls.crt, keyKey: tls.key}
        options: {REQUESTS: 1000000, FAILURE_MODE: local, SHADOW: true, WINDOW: 1h}
        limits: |
          limits: [{name: a, per: user, unit: requests, quota: 5, window: 1h}]
        descriptors:
          api.yaml: |
            domain: api
        tokens: {secret: tokens}
        listen: {port: 8089}
        imagePullSecrets: [{name: registry}]
        gateway:
          upstream: {host: api.example.com, port: 443, tls: true}
          podAnnotations: {a: b}
          podLabels: {team: models}
          nodeSelector: {disk: ssd}
          serviceAccountName: gateway
          priorityClassName: high
          tolerations: [{key: gpu, operator: Exists}]
          affinity: {nodeAffinity: {}}
          networkPolicy:
            from: [{podSelector: {}}]
            metricsFrom: [{namespaceSelector: {matchLabels: {name: monitoring}}}]
            redisTo: [{ipBlock: {cidr: 10.0.0.0/24}}]
            upstreamTo: [{ipBlock: {cidr: 0.0.0.0/0}}]
            egress: [{ports: [{port: 4317}]}]
        """

    /// Values that lead through the templates in all ways.
    static let sets = [
        "", whole, "{gateway: {enabled: false}, limits: 'limits: []'}",
        """
        redis: {urlSecret: {name: redis}}
        limitsConfigMap: own
        descriptorsConfigMap: own
        image: {digest: "sha256:\(String(repeating: "a", count: 64))"}
        gateway:
          config: "static_resources: {}"
          replicas: 1
          metrics: {enabled: false}
          podDisruptionBudget: {enabled: false}
          networkPolicy: {enabled: false}
        """,
    ]

    @Test("It passes Helm's strict linter, and is packaged without what is no part of it")
    func lint() throws {
        #expect(try Helm.lint() == [])
        let folder = try TemporaryFolder()
        let archive = try Helm.package(into: folder)
        #expect(archive.hasSuffix("llm-rate-limit-\(programVersion).tgz"))
        let list = try ChildProcess("tar", ["-tzf", archive])
        #expect(try list.wait() == 0)
        let files = list.output.split(separator: "\n").map { $0.dropFirst("llm-rate-limit/".count) }
        let templates = try FileManager.default.contentsOfDirectory(atPath: "\(Helm.chart)/templates")
        let expected = ["Chart.yaml", "values.yaml", "values.schema.json"] + templates.map { "templates/\($0)" }
        #expect(files.map(String.init).filter { $0 != ".helmignore" }.sorted() == expected.sorted())
    }

    @Test("Its versions are the program's")
    func version() throws {
        let chart = readFile("\(Helm.chart)/Chart.yaml")
        #expect(chart.contains("\nversion: \(programVersion)\n") && chart.contains("\nappVersion: \(programVersion)\n"))
        #expect(try Helm.render().daemon["image"].text == "llm-rate-limit:\(programVersion)")
    }

    @Test(
        "What it renders is valid for Kubernetes 1.37, with its default values and with others", arguments: sets.indices
    )
    func valid(index: Int) throws {
        let rendered = try Helm.render(Self.sets[index])
        #expect(try Helm.problem(of: rendered.objects) == nil)
        let isEnabled = index != 2
        #expect((rendered.object("Deployment").value != nil) == isEnabled)
    }

    @Test("The schemas of Kubernetes refuse a name that is misspelt and a value of another kind")
    func invalid() throws {
        let service = try Helm.render().object("Service")
        for (name, value) in [("sessionAfinity", "None" as Any), ("type", 3), ("ports", "http")] {
            var object = try #require(service.value as? [String: Any])
            var spec = try #require(object["spec"] as? [String: Any])
            spec[name] = value
            object["spec"] = spec
            #expect(try Helm.problem(of: [Manifest(value: object)])?.hasPrefix("Service: spec") == true, "\(name)")
        }
    }

    @Test("A PodMonitor looks for the port that the pods have, and takes the place of the annotations")
    func podMonitor() throws {
        let rendered = try Helm.render(
            "gateway: {metrics: {annotations: false, podMonitor: {enabled: true, labels: {release: p}}}}")
        let monitor = rendered.object("PodMonitor")
        #expect(monitor["metadata"]["labels"]["release"].text == "p")
        let endpoint = try #require(monitor["spec"]["podMetricsEndpoints"].list.first)
        #expect(endpoint["path"].text == "/metrics")
        #expect(rendered.gateway["ports"].named(endpoint["port"].text ?? "")["containerPort"].number == 9090)
        let template = rendered.object("Deployment")["spec"]["template"]
        #expect(!template["metadata"]["annotations"].names.contains("prometheus.io/scrape"))
        let labels = template["metadata"]["labels"]
        for (name, value) in monitor["spec"]["selector"]["matchLabels"].value as? [String: String] ?? [:] {
            #expect(labels[name].text == value)
        }
        // What the alert rules of deploy/monitoring call the job.
        #expect(labels[monitor["spec"]["jobLabel"].text ?? ""].text == "llm-rate-limit")
    }

    @Test("The manifests for those without Helm are the chart with its default values")
    func manifests() throws {
        let written = readFile("\(projectFolder)/deploy/kubernetes/llm-rate-limit.yaml")
        let lines = written.split(separator: "\n", omittingEmptySubsequences: false).drop { $0.hasPrefix("#") }
        #expect(lines.joined(separator: "\n") == (try Helm.manifests()), "scripts/kubernetes writes them anew")
        #expect(!written.contains("Helm\n") && !written.contains("helm.sh") && !written.contains("checksum"))
    }
}

extension ChartTests {
    private func expectRefusals(_ cases: [(values: String, text: String)]) throws {
        let refusals = try Helm.refusals(of: cases.map(\.values))
        #expect(refusals.count == cases.count)
        for (refusal, (values, text)) in zip(refusals, cases) {
            #expect(refusal?.contains(text) == true, "\(values): \(refusal ?? "accepted")")
        }
    }

    @Test("Values that are misspelt or out of bounds are refused, and it is said which")
    func refused() throws {
        try expectRefusals([
            ("gatway: {}", "additional properties 'gatway' not allowed"),
            ("redis: {uri: redis://r}", "additional properties 'uri' not allowed"),
            ("redis: {url: r:6379}", "/redis/url"),
            ("options: {REQUEST: 5}", "additional properties 'REQUEST' not allowed"),
            ("options: {SOCKET: /tmp/s}", "additional properties 'SOCKET' not allowed"),
            ("options: {FAILURE_MODE: opn}", "/options/FAILURE_MODE': value must be one of 'open', 'closed', 'local'"),
            ("options: {REQUESTS: many}", "/options/REQUESTS': got string, want integer"),
            ("options: {DRAIN_TIMEOUT_MS: -1}", "/options/DRAIN_TIMEOUT_MS': minimum: got -1, want 0"),
            ("gateway: {replicas: 0}", "/gateway/replicas"),
            ("gateway: {port: 70000}", "/gateway/port"),
            ("gateway: {podDisruptionBudget: {maxUnavailable: 0}}", "/gateway/podDisruptionBudget/maxUnavailable"),
            ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
            ("limits: {limits: []}", "/limits': got object, want string"),
            ("descriptors: {api.json: a}", "additional properties 'api.json' not allowed"),
        ])
    }

    @Test("Values that contradict each other are refused, and it is said what is accepted")
    func contradictions() throws {
        try expectRefusals([
            ("{limits: a, limitsConfigMap: b}", "cannot use limits together with limitsConfigMap: accepted is one"),
            ("{descriptors: {a.yaml: b}, descriptorsConfigMap: c}", "cannot use descriptors together with"),
            ("redis: {tls: {secret: a}}", "accepted are URLs that begin with rediss"),
            ("redis: {tls: {certKey: a}}", "accepted are both, or none"),
            ("options: {REPLICAS: 3}", "gateway.replicas says how many share a limit"),
            ("gateway: {port: 9090}", "cannot use one port twice"),
            ("listen: {port: 8080}", "cannot use one port twice"),
            ("gateway: {metrics: {podMonitor: {enabled: true}}}", "Prometheus would scrape twice"),
            (
                "gateway: {metrics: {enabled: false, annotations: false, podMonitor: {enabled: true}}}",
                "there would be no port to scrape"
            ),
        ])
        #expect(try Helm.refusals(of: ["{gateway: {enabled: false}, options: {REPLICAS: 3}}"]) == [nil])
    }

    @Test("Every variable that it sets is an option of the daemon, and every option is set by it or can be given")
    func options() throws {
        let set = try Self.sets.flatMap { values in
            try Helm.render(values).daemon["env"].list.map { $0["name"].text ?? "" }
        }
        let rendered = try Helm.render(Self.whole).daemon["env"].list.map { $0["name"].text ?? "" }
        #expect(Set(rendered).count == rendered.count)
        for name in set { #expect(OptionName(variable: name) != nil, "\(name)") }

        let schema = try JSONSerialization.jsonObject(with: Data(readFile("\(Helm.chart)/values.schema.json").utf8))
        let given = Manifest(value: schema)["properties"]["options"]["properties"].names
        let own = Set(set.compactMap { OptionName(variable: $0)?.shortName })
        // A sidecar's sockets are where the templates mount them; its gateway asks over them, a file of variables would
        // hide what the values say, and nothing mounts the secret of a webhook.
        let fixed: Set = [
            "SOCKET", "SOCKET_MODE", "ADMIN_SOCKET", "GRPC_LISTEN", "GRPC_CERT_FILE", "GRPC_KEY_FILE",
            "GRPC_CLIENT_CA_FILE", "ENV_FILE", "EVENTS_WEBHOOK_SECRET_FILE",
            // A secret and a file, which values cannot hold: a collector inside the cluster needs neither.
            "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ]
        let all = OptionCatalogue.all.map(\.name.shortName)
        #expect(given.union(own).union(fixed) == Set(all))
        #expect(given.isDisjoint(with: fixed))
        let both: Set = ["REPLICAS", "REQUESTS", "WINDOW", "SHADOW", "FAILURE_MODE"]
        #expect(given.intersection(own) == both)
    }

    @Test("The schema's bounds and choices of options are the catalogue's")
    func bounds() throws {
        let schema = try JSONSerialization.jsonObject(with: Data(readFile("\(Helm.chart)/values.schema.json").utf8))
        let properties = Manifest(value: schema)["properties"]["options"]["properties"]
        func digits(_ text: Substring) -> Int? { Int(text.replacing(",", with: "")) }
        var bounded = 0
        for name in properties.names {
            let option = try #require(OptionName.allCases.first { $0.shortName == name })
            let (accepted, property) = (OptionCatalogue[option].accepted, properties[name])
            if let match = accepted.firstMatch(of: /^whole numbers from ([0-9,]+) to ([0-9,]+)/) {
                #expect(property["minimum"].number == digits(match.1), "\(name)")
                #expect(property["maximum"].number == digits(match.2), "\(name)")
                bounded += 1
            } else if accepted.wholeMatch(of: /[a-z]+(, [a-z]+)* and [a-z]+/) != nil {
                #expect(property["enum"].texts == accepted.replacing(" and ", with: ", ").components(separatedBy: ", "))
                bounded += 1
            } else if OptionCatalogue[option].isSwitch {
                // YAML makes yes and no of the unquoted words by itself.
                #expect(property["enum"].texts == ["yes", "no"], "\(name)")
                bounded += 1
            }
        }
        #expect(bounded > 15)
    }

    @Test("Pods pass the restricted standard of Kubernetes: no root, no rights, nothing to write to but volumes")
    func restricted() throws {
        for values in ["", Self.whole] {
            let pod = try Helm.render(values).pod
            #expect(pod["automountServiceAccountToken"].flag == false)
            let containers = pod["initContainers"].list + pod["containers"].list
            #expect(containers.count == 2)
            for container in containers {
                let security = container["securityContext"]
                #expect(security["runAsNonRoot"].flag == true && security["readOnlyRootFilesystem"].flag == true)
                #expect(security["allowPrivilegeEscalation"].flag == false)
                #expect(security["capabilities"]["drop"].texts == ["ALL"])
                #expect(security["capabilities"]["add"].value == nil)
                #expect(security["seccompProfile"]["type"].text == "RuntimeDefault")
                for probe in ["livenessProbe", "readinessProbe"] { #expect(container[probe].value != nil) }
                #expect(container["resources"]["limits"]["memory"].text != nil)
                #expect(container["resources"]["limits"]["cpu"].value == nil)
            }
            for volume in pod["volumes"].list {
                #expect(volume.names.isSubset(of: ["name", "emptyDir", "configMap", "secret"]))
                // The group reads it, and nobody else.
                if volume["secret"].value != nil { #expect(volume["secret"]["defaultMode"].number == 0o440) }
            }
            // A file that is mounted by itself never changes.
            for mount in containers.flatMap({ $0["volumeMounts"].list }) {
                #expect(mount["subPath"].value == nil, "\(mount)")
            }
            // The daemon alone may write where its sockets are, and is the user who may reset others.
            let users = containers.map { $0["securityContext"]["runAsUser"].number }
            #expect(users[0] != users[1])
            let sockets = containers.map { $0["volumeMounts"].named("llm-rate-limit") }
            #expect(sockets[0]["readOnly"].flag != true && sockets[1]["readOnly"].flag == true)
            let group = "\(pod["securityContext"]["fsGroup"].number ?? 0)"
            #expect(containers[0]["env"].named("LLM_RATE_LIMIT_SOCKET_GROUP")["value"].text == group)
        }
    }

    @Test(
        "The daemon is a native sidecar that starts before the gateway, and pods have the time that their drains take")
    func lifecycle() throws {
        let pod = try Helm.render().pod
        let daemon = pod["initContainers"].list[0]
        #expect(daemon["restartPolicy"].text == "Always" && daemon["startupProbe"].value != nil)
        func grace(_ values: String) throws -> (all: Int, gateway: Int) {
            let rendered = try Helm.render(values)
            let seconds = rendered.gateway["lifecycle"]["preStop"]["sleep"]["seconds"].number
            return (rendered.pod["terminationGracePeriodSeconds"].number ?? 0, seconds ?? 0)
        }
        let usual = try grace("")
        #expect(usual.all * 1_000 > usual.gateway * 1_000 + Settings().drainTimeoutMilliseconds + 5_000)
        let longer = try grace("{options: {DRAIN_TIMEOUT_MS: 60001}, gateway: {drainSeconds: 600}}")
        #expect(longer.gateway == 600 && longer.all >= 600 + 61 + 5)
    }

    @Test("The network policy lets pods reach DNS, Redis and the model's API, and nothing else")
    func networkPolicy() throws {
        func egress(_ values: String) throws -> [[Int]] {
            try Helm.render(values).object("NetworkPolicy")["spec"]["egress"].list.map { rule in
                rule["ports"].list.map { $0["port"].number ?? 0 }
            }
        }
        #expect(try egress("") == [[53, 53], [6379], [8000]])
        for (url, ports) in [
            ("redis://r", [6379]), ("rediss://u:p%3A1@r:6380/2", [6380]), ("redis://[::1]:7000/0", [7000]),
            ("redis+cluster://a:7000,b:7001,c:7000", [7000, 7001]),
            ("redis+sentinel://u:p@a,b:26380/mymaster/0", [26379, 26380, 6379]),
        ] { #expect(try egress("redis: {url: '\(url)'}")[1] == ports, "\(url)") }
        #expect(try egress(Self.whole).last == [4317])
        let policy = try Helm.render().object("NetworkPolicy")["spec"]
        #expect(policy["policyTypes"].texts == ["Ingress", "Egress"])
        #expect(policy["ingress"].list.map { $0["ports"].list[0]["port"].text } == ["http", "metrics"])
        // The daemon's own port answers checks: no other pod reaches it.
        let listening = try Helm.render("listen: {port: 8089}").object("NetworkPolicy")["spec"]
        #expect(listening["ingress"].list.count == 2)
    }

    @Test("The notes name what the release made, and say what happens without Redis")
    func notes() throws {
        let open = try Helm.render()
        let name = try #require(open.object("Deployment")["metadata"]["name"].text)
        #expect(open.notes.contains("-n models exec deploy/\(name) -c llm-rate-limit -- llm-rate-limit health"))
        #expect(open.notes.contains("service/\(name) 8080:80") && open.notes.contains("requests pass unlimited"))
        for (mode, text) in [("closed", "every request is 503:"), ("local", "each pod limits by itself:")] {
            #expect(try Helm.render("options: {FAILURE_MODE: \(mode)}").notes.contains(text))
        }
    }
}
