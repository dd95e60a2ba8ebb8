import BoundedFiles
import NIOCore
import NIOSSL

/// One end of TLS: the PEM files that it is made from, and what it does with them.
package struct TLSEnd: Equatable, Sendable {
    /// Which of the two ends it is.
    package enum Role: Equatable, Sendable {
        /// Connects; shows a certificate where there is one, and may or may not refuse a server that proves nothing.
        case client(verifiesServer: Bool)
        /// Accepts, offers these protocols, and asks for a client's certificate where there are authorities.
        case server(protocols: [String])
    }

    /// What it is.
    package var role: Role
    /// The certificates that vouch for the other end; nil for the system's in a client, and for nobody's in a server.
    package var authoritiesFile: String?
    /// The chain of certificates that this end shows.
    package var certificateFile: String?
    /// The key of the first of that chain.
    package var keyFile: String?

    /// The longest file that is read, in bytes.
    package static let maximumFileBytes = 1 << 20

    /// Makes one.
    package init(role: Role, authoritiesFile: String?, certificateFile: String?, keyFile: String?) {
        self.role = role
        self.authoritiesFile = authoritiesFile
        self.certificateFile = certificateFile
        self.keyFile = keyFile
    }
}

/// Which file of a ``TLSEnd`` cannot be used, and why.
package struct TLSProblem: Error, Equatable {
    /// One of its files.
    package enum File: Sendable { case authorities, certificate, key }

    /// The file; that of a client's authorities may be the system's.
    package let file: File
    /// The reason, which stands without "cannot …" in front.
    package let reason: String
}

/// What the files of an end hold.
struct TLSFiles: Equatable, Sendable {
    private let authorities: [UInt8]?
    private let certificate: [UInt8]?
    private let key: [UInt8]?

    init(of end: TLSEnd) throws(TLSProblem) {
        authorities = try Self.read(end.authoritiesFile, .authorities)
        certificate = try Self.read(end.certificateFile, .certificate)
        key = try Self.read(end.keyFile, .key)
    }

    private static func read(_ path: String?, _ file: TLSProblem.File) throws(TLSProblem) -> [UInt8]? {
        guard let path else { return nil }
        do throws(BoundedFile.Problem) {
            let read = try BoundedFile(path: path, maximumBytes: TLSEnd.maximumFileBytes)
            return Array(withoutByteOrderMark(read.bytes))
        } catch {
            throw TLSProblem(file: file, reason: "\(error)")
        }
    }

    func makeContext(_ role: TLSEnd.Role) throws(TLSProblem) -> NIOSSLContext {
        let roots = try authorities.map { bytes throws(TLSProblem) in try Self.certificates(bytes, .authorities) }
        let chain = try certificate.map { bytes throws(TLSProblem) in try Self.certificates(bytes, .certificate) }
        let privateKey = try key.map { bytes throws(TLSProblem) in try Self.privateKey(bytes) }
        var configuration = TLSConfiguration.makeClientConfiguration()
        switch role {
        case .client(let verifiesServer):
            configuration.certificateVerification = verifiesServer ? .fullVerification : .none
        case .server(let protocols):
            configuration.applicationProtocols = protocols
            // Who vouches for a client matters, and not where it connects from.
            configuration.certificateVerification = roots == nil ? .none : .noHostnameVerification
        }
        configuration.minimumTLSVersion = .tlsv12
        // An end that hangs never says goodbye; the default of 5 s would let closed connections pile up.
        configuration.shutdownTimeout = .milliseconds(100)
        if let roots { configuration.trustRoots = .certificates(roots) }
        configuration.certificateChain = (chain ?? []).map { .certificate($0) }
        configuration.privateKey = privateKey.map { .privateKey($0) }
        return try Self.makeContext(configuration, role)
    }

    private static func privateKey(_ bytes: [UInt8]) throws(TLSProblem) -> NIOSSLPrivateKey {
        guard let key = try? NIOSSLPrivateKey(bytes: bytes, format: .pem) else {
            throw TLSProblem(file: .key, reason: "it holds no PEM key that needs no passphrase")
        }
        return key
    }

    private static func certificates(
        _ bytes: [UInt8], _ file: TLSProblem.File
    ) throws(TLSProblem) -> [NIOSSLCertificate] {
        guard let certificates = try? NIOSSLCertificate.fromPEMBytes(bytes) else {
            throw TLSProblem(file: file, reason: "it holds no PEM certificate")
        }
        return certificates
    }

    private static func makeContext(
        _ configuration: TLSConfiguration, _ role: TLSEnd.Role
    ) throws(TLSProblem) -> NIOSSLContext {
        let isServer = if case .server = role { true } else { false }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw TLSProblem(
                file: .key, reason: "it is not the key of the \(isServer ? "certificate" : "client certificate")")
        } catch {
            if !isServer, (error as? NIOSSLError) != .failedToLoadCertificate {
                let reason = "the system has none (Debian's package ca-certificates)"
                throw TLSProblem(file: .authorities, reason: reason)
            }
            throw TLSProblem(file: .certificate, reason: "TLS does not take it")
        }
    }
}
