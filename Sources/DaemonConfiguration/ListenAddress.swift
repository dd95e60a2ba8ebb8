#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A TCP address to listen on: an IP address or `localhost`, and a port; never a name that would have to be resolved.
public struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
    /// An IPv4 or IPv6 address without brackets, or `localhost`, which is 127.0.0.1 and ::1.
    public let host: String
    /// 0 to 65,535; with 0 the system chooses a free port.
    public let port: Int
    /// Whether only this machine can reach the address.
    public let isLoopback: Bool

    /// Reads `127.0.0.1:8089`, `[::1]:8089` or `localhost:8089`; nil for any other text.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        guard let port = decimalNumber(text[text.index(after: colon)...], in: 0...65_535) else { return nil }
        let written = text[..<colon]
        self.port = port
        if written.hasPrefix("[") && written.hasSuffix("]") {
            host = String(written.dropFirst().dropLast())
            guard let bytes = Self.bytes(of: host, family: AF_INET6, count: 16) else { return nil }
            isLoopback = bytes == Array(repeating: 0, count: 15) + [1]
        } else {
            host = String(written)
            guard written != "localhost" else {
                isLoopback = true
                return
            }
            guard let bytes = Self.bytes(of: host, family: AF_INET, count: 4) else { return nil }
            isLoopback = bytes[0] == 127
        }
    }

    /// The address as it is written in a configuration, with brackets around IPv6.
    public var description: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func bytes(of host: String, family: Int32, count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        return inet_pton(family, host, &bytes) == 1 ? bytes : nil
    }
}
