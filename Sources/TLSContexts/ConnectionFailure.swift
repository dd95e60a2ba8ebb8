import Glibc
import NIOCore
import NIOPosix
package import NIOSSL

/// What went wrong between a client and its server below what they say to each other, in words for whoever runs the
/// daemon.
///
/// - Parameters:
///   - nameToVerify: the name that the server's certificate must be for.
///   - certificate: the one that the server showed, where it has come.
package func connectionFailure(
    _ error: any Error, nameToVerify: String, certificate: NIOSSLCertificate? = nil
) -> String {
    switch error {
    case let error as IOError: String(cString: strerror(error.errnoCode))
    case ChannelError.connectTimeout: "no connection in time"
    // What NIO makes of a host name: an error for each address that was tried, or for the name itself.
    case let error as NIOConnectionError:
        if let cause = error.connectionErrors.last?.error ?? error.dnsAError {
            connectionFailure(cause, nameToVerify: nameToVerify)
        } else {
            "the host \(error.host) has no address"
        }
    case let error as NIOSSLExtraError where error == .failedToValidateHostname:
        "TLS: the server's certificate is not for \(nameToVerify)"
    case NIOSSLError.handshakeFailed(let error): "TLS: \(handshakeFailure(error, certificate: certificate))"
    case let error as BoringSSLError: "TLS: \(handshakeFailure(error, certificate: certificate))"
    default: String(describing: error)
    }
}

/// What is said where no handshake has come about in the time for it.
package let noHandshakeInTime = "TLS: no handshake in time; the server may not speak TLS on this port"

/// The name that is asked for and verified, or nil for an IP address: the address itself is verified then, and is never
/// asked for, as the standard has it.
package func tlsServerName(_ nameToVerify: String) -> String? {
    var address = in6_addr()
    return [AF_INET, AF_INET6].contains { inet_pton($0, nameToVerify, &address) == 1 } ? nil : nameToVerify
}

private func handshakeFailure(_ error: BoringSSLError, certificate: NIOSSLCertificate?) -> String {
    guard case .sslError(let stack) = error, let first = stack.first else { return "\(error)" }
    if first == .eofDuringHandshake {
        return "the server closed the connection during the handshake; it may not speak TLS on this port"
    }
    let reason = reason(first)
    return switch reason {
    case "CERTIFICATE_VERIFY_FAILED": verificationFailure(certificate)
    case "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port"
    case "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not speak TLS 1.2 or later"
    case "TLSV1_ALERT_CERTIFICATE_REQUIRED", "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        "the server requires a client certificate"
    case "TLSV1_ALERT_UNKNOWN_CA": "the server does not know the authority of the client certificate"
    case "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server says that the client certificate has expired"
    case "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN", "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE":
        "the server does not accept the client certificate"
    case "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_HANDSHAKE_FAILURE":
        "the server ended the handshake; it may require a client certificate"
    default: reason.lowercased().split(separator: "_").joined(separator: " ")
    }
}

/// Why a certificate was refused. BoringSSL keeps that to itself, so the certificate's own dates must tell.
private func verificationFailure(_ certificate: NIOSSLCertificate?) -> String {
    if let certificate {
        let now = time(nil)
        if certificate.notValidAfter < now {
            return "the server's certificate expired on \(day(certificate.notValidAfter))"
        }
        if certificate.notValidBefore > now {
            return "the server's certificate is not valid before \(day(certificate.notValidBefore))"
        }
    }
    return "no authority that is trusted here vouches for the server's certificate, or one between has expired"
}

/// BoringSSL's name for an error, out of `Error: 268… error:1000…:SSL routines:OPENSSL_internal:NAME at file:line`.
private func reason(_ error: BoringSSLInternalError) -> String {
    let text = error.description
    guard let name = text.split(separator: ":").first(where: { $0.contains(" at ") }) else { return text }
    return String(name.prefix { $0 != " " })
}

/// A date such as 2026-11-21.
private func day(_ seconds: time_t) -> String {
    var seconds = seconds
    var date = tm()
    gmtime_r(&seconds, &date)
    func padded(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(date.tm_year + 1900)-\(padded(date.tm_mon + 1))-\(padded(date.tm_mday))"
}
