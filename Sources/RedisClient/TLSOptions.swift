import BoundedFiles
import NIOCore
import NIOSSL
import Synchronization

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

    /// The longest file that is read, in bytes.
    public static let maximumFileBytes = 1 << 20

    /// The defaults.
    public init() {}

    /// Whether TLS can be spoken: reads the files, and remembers what they come to for the first connections.
    public func check() throws(TLSFileError) { _ = try context() }

    /// What connections are made with. The files are read again each time, and where one has changed, as certificates
    /// do before they expire, the context is made anew. Files that cannot be used, as while they are being replaced,
    /// leave in force what there was.
    func context() throws(TLSFileError) -> NIOSSLContext { try cache.context(for: self) }
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

/// The context that the links share, with the files that it was made from.
private final class TLSContextCache: Sendable, CustomReflectable {
    private struct Made {
        var options: TLSOptions
        var files: TLSFiles
        var context: NIOSSLContext
    }

    private let made = Mutex<Made?>(nil)

    func context(for options: TLSOptions) throws(TLSFileError) -> NIOSSLContext {
        // Held while the files are read: two links that find a new certificate make one context of it.
        let result = made.withLock { made in
            Result { () throws(TLSFileError) in
                let former = made?.options == options ? made : nil
                do throws(TLSFileError) {
                    let files = try TLSFiles(options)
                    if let former, former.files == files { return former.context }
                    let context = try files.makeContext(options)
                    made = Made(options: options, files: files, context: context)
                    return context
                } catch {
                    guard let former else { throw error }
                    return former.context
                }
            }
        }
        return try result.get()
    }

    /// Empty: a key must not be found by `dump`.
    var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// What is in the files of some options.
private struct TLSFiles: Equatable {
    private var authorities: [UInt8]?
    private var certificate: [UInt8]?
    private var key: [UInt8]?

    init(_ options: TLSOptions) throws(TLSFileError) {
        authorities = try Self.read(options.authoritiesFile) { .authorities($0) }
        certificate = try Self.read(options.certificateFile) { .certificate($0) }
        key = try Self.read(options.keyFile) { .key($0) }
    }

    private static func read(_ path: String?, _ refuse: (String) -> TLSFileError) throws(TLSFileError) -> [UInt8]? {
        guard let path else { return nil }
        do throws(BoundedFile.Problem) {
            return Array(
                withoutByteOrderMark(try BoundedFile(path: path, maximumBytes: TLSOptions.maximumFileBytes).bytes))
        } catch {
            throw refuse("\(error)")
        }
    }

    func makeContext(_ options: TLSOptions) throws(TLSFileError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = options.verifiesServer ? .fullVerification : .none
        // A Redis that hangs never says goodbye; the default of 5 s would let closed connections pile up.
        configuration.shutdownTimeout = .milliseconds(100)
        if let authorities {
            guard let certificates = try? NIOSSLCertificate.fromPEMBytes(authorities) else {
                throw .authorities("it holds no PEM certificate")
            }
            configuration.trustRoots = .certificates(certificates)
        }
        if let certificate {
            guard let certificates = try? NIOSSLCertificate.fromPEMBytes(certificate) else {
                throw .certificate("it holds no PEM certificate")
            }
            configuration.certificateChain = certificates.map { .certificate($0) }
        }
        if let key {
            guard let privateKey = try? NIOSSLPrivateKey(bytes: key, format: .pem) else {
                throw .key("it holds no PEM key that needs no passphrase")
            }
            configuration.privateKey = .privateKey(privateKey)
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw .key("it is not the key of the client certificate")
        } catch NIOSSLError.failedToLoadCertificate {
            throw .certificate("TLS does not take it")
        } catch {
            throw .authorities("the system has none (Debian's package ca-certificates)")
        }
    }
}
