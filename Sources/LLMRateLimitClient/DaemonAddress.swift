import FoundationEssentials

/// Where a daemon listens.
public enum DaemonAddress: Hashable, Sendable, CustomStringConvertible {
    /// A Unix socket.
    case unixSocket(path: String)
    /// TCP; the host is a name or an address.
    case tcp(host: String, port: Int)

    /// The socket that `LLM_RATE_LIMIT_SOCKET` names, else the daemon's usual one.
    public static var standard: DaemonAddress {
        let named = ProcessInfo.processInfo.environment["LLM_RATE_LIMIT_SOCKET"] ?? ""
        return .unixSocket(path: named.isEmpty ? "/run/llm-rate-limit/llm-rate-limit.sock" : named)
    }

    /// Reads `/path`, `unix:///path` and `http://host:port`; nil for anything else.
    public init?(_ text: String) {
        if text.hasPrefix("unix:///") {
            self = .unixSocket(path: String(text.dropFirst(7)))
        } else if text.hasPrefix("/") {
            self = .unixSocket(path: text)
        } else if text.hasPrefix("http://") {
            guard let address = Self.tcp(text.dropFirst(7)) else { return nil }
            self = address
        } else {
            return nil
        }
    }

    private static func tcp(_ text: Substring) -> DaemonAddress? {
        let text = text.hasSuffix("/") ? text.dropLast() : text
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        guard digits.utf8.allSatisfy({ 0x30...0x39 ~= $0 }), let port = Int(digits), (1...65_535).contains(port) else {
            return nil
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(where: { ":/@".contains($0) }) {
            return nil
        }
        return host.isEmpty ? nil : .tcp(host: String(host), port: port)
    }

    /// As people write it: a path, or host and port.
    public var description: String {
        switch self {
        case .unixSocket(let path): path
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}
