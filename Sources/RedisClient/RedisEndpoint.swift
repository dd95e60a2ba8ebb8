/// Where one Redis server listens, and as whom to log in.
public struct RedisEndpoint: Sendable, Equatable {
    /// The transport address of one Redis server.
    public enum Address: Sendable, Hashable {
        /// A host name or IP address (IPv6 without brackets) and a port from 1 to 65,535.
        case tcp(host: String, port: Int)
        /// The absolute path of a Unix socket, at most 107 bytes.
        case unix(path: String)
    }

    /// Where to connect to.
    public var address: Address

    /// The ACL user, or nil for Redis's default user.
    public var user: String?

    /// The file that names the ACL user in place of ``user``, or nil.
    public var userFile: SecretFile?

    /// The password, or nil where none is sent.
    public var password: Secret?

    /// The database that is selected after connecting, 0 to 65,535.
    public var database: Int

    /// How the connection is encrypted, or nil where it is not.
    public var tls: TLSOptions?

    /// An endpoint; the bounds named at the properties are the caller's to keep.
    public init(
        address: Address, user: String? = nil, password: Secret? = nil, database: Int = 0, tls: TLSOptions? = nil
    ) {
        self.address = address
        self.user = user
        self.password = password
        self.database = database
        self.tls = tls
    }

    /// The port of a URL that names none.
    public static let defaultPort = 6379

    /// Databases that can be selected.
    public static let databases = 0...65_535

    /// The longest path that fits a Unix socket address on Linux, in bytes (`sun_path` without its final NUL).
    public static let maximumSocketPathBytes = 107
}

extension RedisEndpoint: CustomStringConvertible {
    /// The URL of this endpoint with the password masked: `redis://user:***@host:6379/0`.
    public var description: String {
        switch address {
        case .tcp: "\(tls == nil ? "redis" : "rediss")://\(loginText)\(address)/\(database)"
        case .unix: "unix://\(loginText)\(address)?db=\(database)"
        }
    }

    /// The ACL user to log in as now. It blocks where a file has to be read.
    var currentUser: String? { userFile?.read() ?? user }

    /// The name that the server's certificate must be for.
    var nameToVerify: String {
        switch address {
        case .tcp(let host, _): tls?.serverName ?? host
        case .unix(let path): path
        }
    }

    /// What stands in front of the host, with the password masked.
    var loginText: String {
        guard user != nil || password != nil else { return "" }
        let secret = password.map { ":\($0)" } ?? ""
        return "\(PercentCoding.encode(user ?? ""))\(secret)@"
    }
}

extension RedisEndpoint.Address: CustomStringConvertible {
    /// As a URL has it: `host:port`, `[::1]:6379`, or the path.
    public var description: String {
        switch self {
        case .tcp(let host, let port):
            let isIPv6 = host.utf8.contains(UInt8(ascii: ":"))
            let bracketed = isIPv6 ? "[\(PercentCoding.encode(host, keeping: ":"))]" : PercentCoding.encode(host)
            return "\(bracketed):\(port)"
        case .unix(let path): return PercentCoding.encode(path, keeping: "/")
        }
    }
}

/// A text that is sent to Redis and shown to nobody: each way of printing it gives `***`.
public struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private enum Source: Equatable {
        case text(String)
        case file(SecretFile)
    }

    private let source: Source

    /// Wraps a text that must not be printed.
    public init(_ text: String) { source = .text(text) }

    /// The text that a file has at the time.
    public init(_ file: SecretFile) { source = .file(file) }

    /// The text itself: for writing AUTH, never for a log line or an error. It blocks where a file has to be read.
    public func reveal() -> String {
        switch source {
        case .text(let text): text
        case .file(let file): file.read()
        }
    }

    /// What a server answered to a command with this secret, as it may be shown: a server that does not know a command
    /// repeats what it was given, whole or the beginning of it.
    func hidden(in answer: String) -> String {
        let known =
            answer.firstRange(of: ", with args beginning with").map { String(answer[..<$0.lowerBound]) } ?? answer
        guard known.contains(reveal().prefix(4)) else { return known }
        return "\(known.prefix { $0 != " " }) (the rest is not shown, since it may hold the password)"
    }

    /// Always `***`.
    public var description: String { "***" }

    /// Always `***`.
    public var debugDescription: String { "***" }

    /// Empty, so that `dump` and reflection do not find the text.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}
