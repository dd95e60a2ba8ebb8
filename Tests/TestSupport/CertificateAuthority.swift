/// An authority of one test's own, which issues certificates by openssl.
package final class CertificateAuthority: Sendable {
    /// A certificate and its key, as PEM files.
    package struct Certificate: Sendable {
        package var file: String
        package var keyFile: String
    }

    private let folder: TemporaryFolder
    /// The authority's own certificate, by which others are verified.
    package let file: String

    package init() throws {
        folder = try TemporaryFolder()
        file = folder.file("authority.pem")
        try Self.openssl(
            ["req", "-x509", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE", "-out", file]
                + Self.newKey(folder.file("authority.key"), subject: "Test authority")
        )
    }

    /// Issues a certificate.
    ///
    /// - Parameters:
    ///   - names: what it is for, as openssl writes alternative names.
    ///   - days: for how long from now; a negative number for one that has expired.
    package func issue(
        _ name: String, names: String = "DNS:localhost,IP:127.0.0.1", days: Int = 30
    ) throws -> Certificate {
        let issued = Certificate(file: folder.file("\(name).pem"), keyFile: folder.file("\(name).key"))
        let request = folder.file("\(name).csr")
        let extensions = try folder.write("subjectAltName=\(names)\n", to: "\(name).ext")
        try Self.openssl(["req", "-out", request] + Self.newKey(issued.keyFile, subject: name))
        try Self.openssl([
            "x509", "-req", "-in", request, "-CA", file, "-CAkey", folder.file("authority.key"), "-CAcreateserial",
            "-days", "\(days)", "-extfile", extensions, "-out", issued.file,
        ])
        return issued
    }

    private static func newKey(_ file: String, subject: String) -> [String] {
        [
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=\(subject)",
            "-keyout", file,
        ]
    }

    private static func openssl(_ arguments: [String]) throws {
        let process = try ChildProcess("openssl", arguments)
        guard try process.wait() == 0 else { throw TestFailure("openssl \(arguments): \(process.errors)") }
    }
}

extension RedisServer {
    /// The options of a server that speaks TLS on a port, beside its Unix socket.
    ///
    /// - Parameter clients: the authority of the client certificates that it requires; nil where it requires none.
    package static func tlsOptions(
        port: UInt16, _ certificate: CertificateAuthority.Certificate, clients: CertificateAuthority? = nil
    ) -> [String] {
        [
            "--tls-port", "\(port)", "--tls-cert-file", certificate.file, "--tls-key-file", certificate.keyFile,
            "--tls-auth-clients", clients == nil ? "no" : "yes",
            "--tls-ca-cert-file", clients?.file ?? certificate.file,
        ]
    }

    /// The URL of a TLS port for a daemon.
    package static func tlsURL(port: UInt16, host: String = "localhost") -> String {
        "rediss://\(leastUser):\(leastPassword)@\(host):\(port)"
    }
}
