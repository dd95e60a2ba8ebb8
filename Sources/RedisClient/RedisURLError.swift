/// Why a text is not the URL of a Redis endpoint. No case carries a part of the URL that can hold a password.
public enum RedisURLError: Error, Sendable, Equatable {
    /// There is no `scheme://` at the start.
    case notAURL
    /// The URL is longer than `RedisTopology.maximumURLBytes`.
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
    /// A Sentinel URL without the name of a master, or with one that cannot be one.
    case badMasterName
    /// More hosts than `RedisTopology.maximumHosts`.
    case tooManyHosts
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
        case .tooLong: "it is longer than \(RedisTopology.maximumURLBytes) bytes"
        case .unsupportedScheme(let scheme): "the scheme \(scheme):// is not supported"
        case .badPercentEncoding: "a % is not followed by two hexadecimal digits of UTF-8 text (a % itself is %25)"
        case .combinedDelimiter: "a combining character beside one of : / ? # @ [ ] has to be percent-encoded"
        case .unencodedLogin: "a / ? or # in the user or password has to be written %2F, %3F or %23"
        case .missingHost: "the host is missing"
        case .badHost: "the host is not a name, an IPv4 address or an IPv6 address in brackets"
        case .badPort: "the port is not a number from 1 to 65535"
        case .badDatabase: "the database is not a number from 0 to 65535"
        case .unexpectedQuery: "after the address nothing is known but ?db= of unix:// URLs"
        case .badMasterName: "the name of the master is missing or holds a space (redis+sentinel://host/name)"
        case .tooManyHosts: "it names more than \(RedisTopology.maximumHosts) hosts"
        case .badSocketPath: "the socket path is not absolute (three slashes: unix:///run/redis.sock)"
        case .socketPathTooLong: "the socket path is longer than \(RedisEndpoint.maximumSocketPathBytes) bytes"
        }
    }

    /// One line: what is wrong and what would be accepted.
    public var description: String {
        "cannot use the Redis URL: \(reason); accepted are \(RedisTopology.acceptedURLs)"
    }
}
