import NIOSSL
import TLSContexts

/// How a connection to Redis is encrypted; the defaults verify the server by the system's own authorities.
public struct TLSOptions: Sendable {
    /// A file of PEM certificates to verify the server by, or nil for the system's.
    public var authoritiesFile: String?
    /// A file of this client's PEM certificate chain, or nil where none is shown; it needs `keyFile`.
    public var certificateFile: String?
    /// The file of that certificate's PEM key.
    public var keyFile: String?
    /// The name that the server's certificate must be for, or nil for the host that is connected to.
    public var serverName: String?
    /// Whether a server is refused that cannot prove who it is.
    public var verifiesServer = true

    /// What the copies of these options share, so that links need not each read the files.
    private let cache = TLSContextCache()

    /// The defaults.
    public init() {}

    /// Whether TLS can be spoken: reads the files, and remembers what they come to for the first connections.
    public func check() throws(TLSFileError) { _ = try context() }

    /// What connections are made with. The files are read again each time, and where one has changed, as certificates
    /// do before they expire, the context is made anew. Files that cannot be used, as while they are being replaced,
    /// leave in force what there was.
    func context() throws(TLSFileError) -> NIOSSLContext {
        let end = TLSEnd(
            role: .client(verifiesServer: verifiesServer), authoritiesFile: authoritiesFile,
            certificateFile: certificateFile, keyFile: keyFile)
        do throws(TLSProblem) {
            return try cache.context(for: end)
        } catch {
            throw TLSFileError(error)
        }
    }
}

extension TLSOptions: Equatable {
    /// Whether both say the same; what they remember is no part of it.
    public static func == (one: TLSOptions, other: TLSOptions) -> Bool {
        one.authoritiesFile == other.authoritiesFile && one.certificateFile == other.certificateFile
            && one.keyFile == other.keyFile && one.serverName == other.serverName
            && one.verifiesServer == other.verifiesServer
    }
}

/// Which file of ``TLSOptions`` cannot be used, and why; each reason stands without "cannot …" in front.
public enum TLSFileError: Error, Equatable {
    /// The authorities, from the file or the system.
    case authorities(String)
    /// The client's certificate.
    case certificate(String)
    /// The key of the client's certificate.
    case key(String)
}

extension TLSFileError: CustomStringConvertible {
    /// One line: which file, and why.
    public var description: String {
        switch self {
        case .authorities(let reason): "cannot use the certificate authorities: \(reason)"
        case .certificate(let reason): "cannot use the client certificate: \(reason)"
        case .key(let reason): "cannot use the client certificate's key: \(reason)"
        }
    }
}

extension TLSFileError {
    fileprivate init(_ problem: TLSProblem) {
        self =
            switch problem.file {
            case .authorities: .authorities(problem.reason)
            case .certificate: .certificate(problem.reason)
            case .key: .key(problem.reason)
            }
    }
}
