import BoundedFiles
import NIOCore
package import NIOSSL
import Synchronization

/// How connections are encrypted, and by which certificates clients prove who they are.
public struct ServerTLS: Sendable {
    /// The file of the server's PEM certificate chain.
    public var certificateFile: String
    /// The file of that certificate's PEM key.
    public var keyFile: String
    /// A file of PEM certificates; each client must show a certificate that one of them vouches for. Nil where clients
    /// show none.
    public var clientAuthoritiesFile: String?

    /// The longest file that is read, in bytes.
    public static let maximumFileBytes = 1 << 20

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
    package func context() throws(ServerTLSError) -> NIOSSLContext { try cache.context(for: self) }
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

/// The context that the connections share, with the files that it was made from.
private final class TLSContextCache: Sendable, CustomReflectable {
    private struct Made {
        var files: TLSFiles
        var context: NIOSSLContext
        var readAt: NIODeadline
    }

    /// How old what was read of the files may be.
    private static let age = TimeAmount.seconds(10)
    private let made = Mutex<Made?>(nil)

    func context(for tls: ServerTLS) throws(ServerTLSError) -> NIOSSLContext {
        let result = made.withLock { made in
            Result { () throws(ServerTLSError) in
                let now = NIODeadline.now()
                if let made, now - made.readAt < Self.age { return made.context }
                do throws(ServerTLSError) {
                    let files = try TLSFiles(tls)
                    if let former = made, former.files == files {
                        made?.readAt = now
                        return former.context
                    }
                    let context = try files.makeContext()
                    made = Made(files: files, context: context, readAt: now)
                    return context
                } catch {
                    guard let former = made else { throw error }
                    made?.readAt = now
                    return former.context
                }
            }
        }
        return try result.get()
    }

    /// Empty: a key must not be found by `dump`.
    var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// What is in the files.
private struct TLSFiles: Equatable {
    private let certificate: [UInt8]
    private let key: [UInt8]
    private let clientAuthorities: [UInt8]?

    init(_ tls: ServerTLS) throws(ServerTLSError) {
        certificate = try Self.read(tls.certificateFile) { .certificate($0) }
        key = try Self.read(tls.keyFile) { .key($0) }
        if let file = tls.clientAuthoritiesFile {
            clientAuthorities = try Self.read(file) { .clientAuthorities($0) }
        } else {
            clientAuthorities = nil
        }
    }

    private static func read(
        _ path: String, _ refuse: (String) -> ServerTLSError
    ) throws(ServerTLSError) -> [UInt8] {
        do throws(BoundedFile.Problem) {
            let file = try BoundedFile(path: path, maximumBytes: ServerTLS.maximumFileBytes)
            return Array(withoutByteOrderMark(file.bytes))
        } catch {
            throw refuse("\(error)")
        }
    }

    func makeContext() throws(ServerTLSError) -> NIOSSLContext {
        guard let chain = try? NIOSSLCertificate.fromPEMBytes(certificate) else {
            throw .certificate("it holds no PEM certificate")
        }
        guard let privateKey = try? NIOSSLPrivateKey(bytes: key, format: .pem) else {
            throw .key("it holds no PEM key that needs no passphrase")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(privateKey))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["h2"]
        // A client that hangs never says goodbye; the default of 5 s would let closed connections pile up.
        configuration.shutdownTimeout = .milliseconds(100)
        if let clientAuthorities {
            guard let authorities = try? NIOSSLCertificate.fromPEMBytes(clientAuthorities) else {
                throw .clientAuthorities("it holds no PEM certificate")
            }
            configuration.trustRoots = .certificates(authorities)
            // Who vouches for a client matters, and not where it connects from.
            configuration.certificateVerification = .noHostnameVerification
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw .key("it is not the key of the certificate")
        } catch {
            throw .certificate("TLS does not take it")
        }
    }
}
