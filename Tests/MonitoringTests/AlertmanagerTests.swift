import Foundation
import TestSupport
import Testing

@Suite("Alertmanager", .serialized, .needsPrometheus)
struct AlertmanagerTests {
    @Test("A daemon that ends is told to whom is on call, with the runbook's section, and so is its return")
    func arrives() throws {
        let webhook = try HTTPReceiver { _, _ in .status(200) }
        let folder = try TemporaryFolder()
        var configuration = try deployed("alertmanager.yaml")
        for (old, new) in [
            ("group_wait: 30s", "group_wait: 1s"), ("group_interval: 5m", "group_interval: 1s"),
            ("127.0.0.1:5001", "127.0.0.1:\(webhook.port)"),
        ] {
            try #require(configuration.contains(old))
            configuration = configuration.replacing(old, with: new)
        }
        let port = try freePort()
        // Debian's looks for its texts in /usr/share, which is another one for this process.
        let script = """
            mount -t tmpfs tmpfs /usr/share && mkdir -p /usr/share/prometheus/alertmanager &&
            cp \(programs)/*.tmpl /usr/share/prometheus/alertmanager && exec "$0" "$@"
            """
        let alertmanager = try ChildProcess(
            "unshare",
            [
                isRoot ? "-m" : "-rm", "sh", "-c", script, "\(programs)/prometheus-alertmanager",
                "--config.file=\(try folder.write(configuration, to: "alertmanager.yaml"))",
                "--storage.path=\(folder.file("data"))", "--web.listen-address=127.0.0.1:\(port)",
                "--cluster.listen-address=",
            ])
        let redis = try RedisServer()
        let listening = try freePort()
        let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(listening)"])
        let prometheus = try PrometheusServer(targets: [listening], alertmanager: port) {
            $0.replacing("for: 1m", with: "for: 1s")
        }
        #expect(try eventually(within: 60) { try !prometheus.query("up == 1").isEmpty })
        func isTold(_ status: String) -> Bool {
            webhook.requests.contains { request in
                [
                    "POST /on-call ", "\"status\":\"\(status)\"", "\"alertname\":\"RateLimitDown\"",
                    "\"severity\":\"critical\"", "127.0.0.1:\(listening) is down", "#RateLimitDown",
                ].allSatisfy((request.head + request.body).contains)
            }
        }
        #expect(!isTold("firing"))
        daemon.kill()
        try #require(eventually(within: 60) { isTold("firing") }, "\(webhook.requests) \(alertmanager.errors)")
        try daemon.restart()
        #expect(eventually(within: 60) { isTold("resolved") }, "\(webhook.requests)")
    }

    @Test("amtool has nothing to say about the configuration, and finds who is told of each severity")
    func routes() throws {
        let file = "\(project)/deploy/monitoring/alertmanager.yaml"
        let result = try run("amtool", ["check-config", file])
        #expect(result.code == 0, "\(result.output)")
        for (severity, receiver) in [("critical", "on-call"), ("warning", "morning")] {
            let routed = try run(
                "amtool", ["config", "routes", "test", "--config.file=\(file)", "severity=\(severity)"])
            #expect(routed.output.hasPrefix("\(receiver)\n"), "\(routed.output)")
        }
    }
}
