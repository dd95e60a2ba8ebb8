/// Where bodies are posted to: an `http://` or `https://` URL without credentials.
package struct PostURL: Hashable, Sendable {
    /// Whether TLS is spoken.
    package let isEncrypted: Bool
    /// A name or an IP address, IPv6 without brackets.
    package let host: String
    /// From 1 to 65,535; where the URL names none, that of its scheme.
    package let port: Int
    /// The path, which begins with a slash, and the query. It may be a secret, as that of many a webhook is.
    package let target: String

    /// The longest URL, in bytes.
    package static let maximumBytes = 2_048

    /// Reads a URL.
    package init(_ text: String) throws(PostURLError) {
        guard text.utf8.count <= Self.maximumBytes else { throw .tooLong }
        // Nothing else can stand in a request's first line: what is not ASCII has to be percent-encoded.
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else { throw .notASCII }
        guard let end = text.firstRange(of: "://") else { throw .noScheme }
        switch text[..<end.lowerBound].lowercased() {
        case "http": isEncrypted = false
        case "https": isEncrypted = true
        default: throw .noScheme
        }
        let rest = text[end.upperBound...]
        guard !rest.contains("#") else { throw .fragment }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard !authority.contains("@") else { throw .credentials }
        let path = rest[authority.endIndex...]
        target = path.hasPrefix("/") ? String(path) : "/\(path)"
        let (host, port) = try Self.hostAndPort(authority)
        self.host = host
        self.port = port ?? (isEncrypted ? 443 : 80)
    }

    private init(isEncrypted: Bool, host: String, port: Int, target: String) {
        self.isEncrypted = isEncrypted
        self.host = host
        self.port = port
        self.target = target
    }

    private static func hostAndPort(_ authority: Substring) throws(PostURLError) -> (String, Int?) {
        let host: Substring
        let rest: Substring
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { throw .noHost }
            host = authority[..<close].dropFirst()
            rest = authority[close...].dropFirst()
        } else {
            host = authority.prefix { $0 != ":" }
            rest = authority[host.endIndex...]
        }
        guard !host.isEmpty else { throw .noHost }
        guard !rest.isEmpty else { return (String(host), nil) }
        // `Int` would take a sign.
        guard rest.first == ":", rest.dropFirst().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let port = Int(rest.dropFirst()), (1...65_535).contains(port)
        else { throw .port }
        return (String(host), port)
    }

    /// This URL with `path`, which begins without a slash, behind its own path, and without its query.
    package func appending(path: String) -> PostURL {
        let own = target.prefix { $0 != "?" }
        let separator = own.hasSuffix("/") ? "" : "/"
        return PostURL(isEncrypted: isEncrypted, host: host, port: port, target: own + separator + path)
    }

    /// The whole URL; it may be a secret.
    package var text: String { "\(self)\(target)" }

    /// As the header `Host` has it: the port only where it is not the scheme's own.
    var hostHeader: String {
        let isDefault = port == (isEncrypted ? 443 : 80)
        return isDefault ? bracketedHost : "\(bracketedHost):\(port)"
    }

    private var bracketedHost: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host }
}

extension PostURL: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Scheme, host and port: the rest may be a secret.
    package var description: String { "\(isEncrypted ? "https" : "http")://\(bracketedHost):\(port)" }

    /// The same.
    package var debugDescription: String { description }

    /// Empty: the path must not be found by `dump`.
    package var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// Why a text is no URL to post to.
package enum PostURLError: Error, Hashable, Sendable, CaseIterable {
    case tooLong, notASCII, noScheme, fragment, credentials, noHost, port
}

extension PostURLError: CustomStringConvertible {
    /// The reason, which stands behind "cannot …: " and repeats nothing of the URL.
    package var description: String {
        switch self {
        case .tooLong: "it is longer than \(PostURL.maximumBytes) bytes"
        case .notASCII: "a URL holds visible ASCII characters only; others are percent-encoded"
        case .noScheme: "it begins neither with http:// nor with https://"
        case .fragment: "a URL to post to has no fragment (#)"
        case .credentials: "it holds credentials; those belong into a header"
        case .noHost: "it names no host"
        case .port: "its port is no number from 1 to 65535"
        }
    }
}
