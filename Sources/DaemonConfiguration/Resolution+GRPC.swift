import BoundedFiles
public import Listeners

// What the options of the gRPC door say together.
extension Resolution {
    /// Refuses a certificate without its key, and says what is not used.
    mutating func checkGRPC() {
        let certificate = settings.grpcCertificateFile
        let key = settings.grpcKeyFile
        let pairs: [(given: OptionName, missing: OptionName)] =
            switch (certificate, key) {
            case (_?, nil): [(.grpcCertificateFile, .grpcKeyFile)]
            case (nil, _?): [(.grpcKeyFile, .grpcCertificateFile)]
            case (nil, nil) where settings.grpcClientAuthoritiesFile != nil: [(.grpcClientCAFile, .grpcCertificateFile)]
            default: []
            }
        for (given, missing) in pairs where isUnproblematic(missing) {
            refuse(
                given, reason: "\(missing.variable) is missing",
                accepted: "certificate and key together; they may be one file")
        }
        if pairs.isEmpty { checkTLS() }
        if let key, BoundedFile.isReadableByEveryone(key) {
            warn("\(printable(key)) holds the key of the gRPC address and every user can read it: chmod it to 0600")
        }
        if certificate != nil, settings.grpcListenAddress == nil {
            warn(
                "\(OptionName.grpcCertificateFile.variable) is not used: \(OptionName.grpcListen.variable) names no address"
            )
        }
        if settings.envoyConfiguration != nil, settings.grpcSocketPath == nil, settings.grpcListenAddress == nil {
            warn(
                "\(OptionName.envoyConfig.variable) is not used: neither \(OptionName.grpcSocket.variable) nor "
                    + "\(OptionName.grpcListen.variable) is set")
        }
    }

    /// Refuses files that TLS cannot be spoken with.
    private mutating func checkTLS() {
        guard let tls = settings.grpcTLS else { return }
        do throws(ServerTLSError) {
            try tls.check()
        } catch {
            let (name, reason): (OptionName, String) =
                switch error {
                case .certificate(let reason): (.grpcCertificateFile, reason)
                case .key(let reason): (.grpcKeyFile, reason)
                case .clientAuthorities(let reason): (.grpcClientCAFile, reason)
                }
            refuse(name, reason: reason, accepted: OptionCatalogue[name].accepted)
        }
    }
}

extension Settings {
    /// How connections by TCP to the gRPC door are encrypted; nil where they are in the clear.
    public var grpcTLS: ServerTLS? {
        guard let certificate = grpcCertificateFile, let key = grpcKeyFile else { return nil }
        return ServerTLS(
            certificateFile: certificate, keyFile: key, clientAuthoritiesFile: grpcClientAuthoritiesFile)
    }
}
