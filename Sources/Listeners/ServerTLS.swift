import NIOCore
package import NIOSSL
import TLSContexts

/// How connections are encrypted, and by which certificates clients prove who they are.
public struct ServerTLS: Sendable {
    /// The file of the server's PEM certificate chain.
    public var certificateFile: String
    /// The file of that certificate's PEM key.
    public var keyFile: String
    /// A file of PEM certificates; each client must show a certificate that one of them vouches for. Nil where clients
    /// show none.
    public var clientAuthoritiesFile: String?

    private let cache = TLSContextCache()

    /// Makes the options.
    public init(certificateFile: String, keyFile: String, clientAuthoritiesFile: String? = nil) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.clientAuthoritiesFile = clientAuthoritiesFile
    }

    /// Whether TLS can be spoken: reads the files.
    public func check() throws(ServerTLSError) { _ = try context() }

    /// What connections are made with. The files are read again when they have not been for 10 s, and where one has
    /// changed, as certificates do before they expire, the context is made anew. Files that cannot be used, as while
    /// they are being replaced, leave in force what there was.
    package func context() throws(ServerTLSError) -> NIOSSLContext {
        let end = TLSEnd(
            role: .server(protocols: ["h2"]), authoritiesFile: clientAuthoritiesFile, certificateFile: certificateFile,
            keyFile: keyFile)
        do throws(TLSProblem) {
            return try cache.context(for: end, readWithin: .seconds(10))
        } catch {
            throw ServerTLSError(error)
        }
    }
}

/// Which file of ``ServerTLS`` cannot be used, and why; each reason stands without "cannot …" in front.
public enum ServerTLSError: Error, Equatable, CustomStringConvertible {
    /// The server's certificate.
    case certificate(String)
    /// The key of the server's certificate.
    case key(String)
    /// The authorities of the clients' certificates.
    case clientAuthorities(String)

    /// One line: which file, and why.
    public var description: String {
        switch self {
        case .certificate(let reason): "cannot use the gRPC certificate: \(reason)"
        case .key(let reason): "cannot use the gRPC certificate's key: \(reason)"
        case .clientAuthorities(let reason): "cannot use the authorities of gRPC clients: \(reason)"
        }
    }
}

extension ServerTLSError {
    fileprivate init(_ problem: TLSProblem) {
        self =
            switch problem.file {
            case .authorities: .clientAuthorities(problem.reason)
            case .certificate: .certificate(problem.reason)
            case .key: .key(problem.reason)
            }
    }
}
