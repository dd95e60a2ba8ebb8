/// Where a Redis server listens and as whom to log in: the value of `LLM_RATE_LIMIT_REDIS_URL`.
public struct RedisEndpoint: Sendable, Equatable {
    /// The transport address of one Redis server.
    public enum Address: Sendable, Equatable {
        /// A host name or IP address (IPv6 without brackets) and a port from 1 to 65,535.
        case tcp(host: String, port: Int)
        /// The absolute path of a Unix socket, at most 107 bytes.
        case unix(path: String)
    }

    /// Where to connect to.
    public var address: Address

    /// The ACL user, or nil for Redis's default user.
    public var user: String?

    /// The password, or nil where none is sent.
    public var password: Secret?

    /// The database that is selected after connecting, 0 to 65,535.
    public var database: Int

    /// An endpoint; the bounds named at the properties are the caller's to keep.
    public init(address: Address, user: String? = nil, password: Secret? = nil, database: Int = 0) {
        self.address = address
        self.user = user
        self.password = password
        self.database = database
    }

    /// The port of a URL that names none.
    public static let defaultPort = 6379

    /// Databases that can be selected.
    public static let databases = 0...65_535

    /// The longest URL that is read, in bytes.
    public static let maximumURLBytes = 4096

    /// The longest path that fits a Unix socket address on Linux, in bytes (`sun_path` without its final NUL).
    public static let maximumSocketPathBytes = 107

    /// What a URL may look like, in one line for error texts.
    public static let acceptedURLs =
        "redis://[user:password@]host[:port][/database] and unix://[user:password@]/path[?db=database]"
}

extension RedisEndpoint: CustomStringConvertible {
    /// The URL of this endpoint with the password masked: `redis://user:***@host:6379/0`.
    public var description: String {
        var login = ""
        if user != nil || password != nil {
            let secret = password.map { ":\($0)" } ?? ""
            login = "\(PercentCoding.encode(user ?? ""))\(secret)@"
        }
        switch address {
        case .tcp(let host, let port):
            let isIPv6 = host.utf8.contains(UInt8(ascii: ":"))
            let bracketed = isIPv6 ? "[\(PercentCoding.encode(host, keeping: ":"))]" : PercentCoding.encode(host)
            return "redis://\(login)\(bracketed):\(port)/\(database)"
        case .unix(let path):
            return "unix://\(login)\(PercentCoding.encode(path, keeping: "/"))?db=\(database)"
        }
    }
}

/// A text that is sent to Redis and shown to nobody: each way of printing it gives `***`.
public struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let text: String

    /// Wraps a text that must not be printed.
    public init(_ text: String) {
        self.text = text
    }

    /// The text itself: for writing AUTH, never for a log line or an error.
    public func reveal() -> String {
        text
    }

    /// Always `***`.
    public var description: String { "***" }

    /// Always `***`.
    public var debugDescription: String { "***" }

    /// Empty, so that `dump` and reflection do not find the text.
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// Why a text is not the URL of a Redis endpoint. No case carries a part of the URL that can hold a password.
public enum RedisURLError: Error, Sendable, Equatable {
    /// There is no `scheme://` at the start.
    case notAURL
    /// The URL is longer than `RedisEndpoint.maximumURLBytes`.
    case tooLong
    /// The scheme is none that can be used.
    case unsupportedScheme(String)
    /// A `%` without two hexadecimal digits behind it, or bytes that are no UTF-8.
    case badPercentEncoding
    /// A combining character that Unicode makes one character with a `:`, `/`, `@` or the like before or behind it.
    case combinedDelimiter
    /// An `@` comes after the first `/`, `?` or `#`, so the password holds one that is not percent-encoded.
    case unencodedLogin
    /// A `redis://` URL that names no host.
    case missingHost
    /// A host with spaces, control characters, or brackets that do not match.
    case badHost
    /// The port is no number from 1 to 65,535.
    case badPort
    /// The database is no number from 0 to 65,535.
    case badDatabase
    /// A query or fragment that the scheme does not take.
    case unexpectedQuery
    /// A `unix://` URL whose path is not absolute, or that names a host.
    case badSocketPath
    /// A socket path that does not fit `sockaddr_un`.
    case socketPathTooLong
}

extension RedisURLError: CustomStringConvertible {
    /// What is wrong, without "cannot …" in front.
    public var reason: String {
        switch self {
        case .notAURL: "it does not begin with a scheme such as redis://"
        case .tooLong: "it is longer than \(RedisEndpoint.maximumURLBytes) bytes"
        case .unsupportedScheme(let scheme): "the scheme \(scheme):// is not supported"
        case .badPercentEncoding: "a % is not followed by two hexadecimal digits of UTF-8 text (a % itself is %25)"
        case .combinedDelimiter: "a combining character beside one of : / ? # @ [ ] has to be percent-encoded"
        case .unencodedLogin: "a / ? or # in the user or password has to be written %2F, %3F or %23"
        case .missingHost: "the host is missing"
        case .badHost: "the host is not a name, an IPv4 address or an IPv6 address in brackets"
        case .badPort: "the port is not a number from 1 to 65535"
        case .badDatabase: "the database is not a number from 0 to 65535"
        case .unexpectedQuery: "after the address nothing is known but ?db= of unix:// URLs"
        case .badSocketPath: "the socket path is not absolute (three slashes: unix:///run/redis.sock)"
        case .socketPathTooLong: "the socket path is longer than \(RedisEndpoint.maximumSocketPathBytes) bytes"
        }
    }

    /// One line: what is wrong and what would be accepted.
    public var description: String {
        "cannot use the Redis URL: \(reason); accepted are \(RedisEndpoint.acceptedURLs)"
    }
}
