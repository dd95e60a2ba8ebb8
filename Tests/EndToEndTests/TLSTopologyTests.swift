import TestSupport
import Testing

extension EndToEnd {
    @Suite("TLS with Sentinel and Cluster")
    struct TLSTopologyTests {
        let authority: CertificateAuthority
        let certificate: CertificateAuthority.Certificate
        let port: UInt16

        init() throws {
            authority = try CertificateAuthority()
            certificate = try authority.issue("server")
            port = try freePort()
        }

        private func expectExact(_ url: String) throws {
            let daemon = try Daemon(redis: url, ["REDIS_CA_FILE": authority.file, "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let isThere = try eventually(within: 20) { try !client.check(newUser()).isDegraded }
            #expect(isThere, "\(daemon.process.errors)")
            let user = newUser()
            let answers = try (0..<30).map { _ in try client.check(user) }
            #expect(answers.count { $0.status == 200 && !$0.isDegraded } == 20)
            #expect(answers.count { $0.status == 429 } == 10)
        }

        @Test("The nodes that a cluster names are spoken to by TLS as the one in the URL is")
        func cluster() throws {
            let redis = try RedisServer(
                RedisServer.tlsOptions(port: port, certificate) + [
                    "--tls-cluster", "yes", "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
                    "--cluster-port", "\(try freePort())",
                ]
            )
            try redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            let isServing = try eventually(within: 20) {
                try redis.command("CLUSTER", "INFO").text?.contains("cluster_state:ok") == true
            }
            #expect(isServing)
            try expectExact("rediss+cluster://127.0.0.1:\(port)")
        }

        @Test("Sentinels, and the master that they name, are spoken to by TLS")
        func sentinel() throws {
            let redis = try RedisServer(RedisServer.tlsOptions(port: port, certificate))
            let sentinelPort = try freePort()
            let sentinel = try SentinelServer([
                "tls-port \(sentinelPort)", "tls-replication yes", "tls-auth-clients no",
                "tls-cert-file \(certificate.file)", "tls-key-file \(certificate.keyFile)",
                "tls-ca-cert-file \(authority.file)",
                "sentinel monitor \(SentinelDeployment.masterName) 127.0.0.1 \(port) 1",
            ])
            #expect(try sentinel.masterPort() == port)
            try expectExact("rediss+sentinel://127.0.0.1:\(sentinelPort)/\(SentinelDeployment.masterName)")
            #expect(try redis.calls(of: "role") > 0)
        }
    }
}
