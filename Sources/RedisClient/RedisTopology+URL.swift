extension RedisTopology {
    /// Reads a URL such as `redis://user:password@127.0.0.1:6379/0`, `unix:///run/redis.sock?db=0`,
    /// `redis+sentinel://h1,h2/mymaster/0` or `redis+cluster://h1:7000,h2:7001`; with `rediss` they go over TLS.
    ///
    /// User, password, hosts, path and master's name may be percent-encoded.
    /// - Parameter url: at most `maximumURLBytes` bytes.
    /// - Throws: `RedisURLError`, whose text never repeats the password.
    public static func parse(_ url: String) throws(RedisURLError) -> RedisTopology {
        guard url.utf8.count <= maximumURLBytes else { throw .tooLong }
        guard let (scheme, rest) = splitScheme(url) else { throw .notAURL }
        guard !rest.contains(where: isCombinedDelimiter) else { throw .combinedDelimiter }
        let parts = try URLParts(rest)
        let tls: TLSOptions? = scheme.hasPrefix("rediss") ? TLSOptions() : nil
        switch scheme {
        case "redis", "rediss": return .single(try parseTCP(parts, tls))
        case "unix": return .single(try parseUnix(parts))
        case "redis+sentinel", "rediss+sentinel": return .sentinel(try parseSentinel(parts, tls))
        case "redis+cluster", "rediss+cluster": return .cluster(seeds: try parseCluster(parts, tls))
        default: throw .unsupportedScheme(scheme)
        }
    }

    /// A URL as it may be shown where `parse` refused it: whatever could be a password is `***`.
    public static func masked(_ url: String) -> String {
        guard let (scheme, rest) = splitScheme(url) else { return url.isEmpty ? "" : "***" }
        guard !rest.contains(where: isCombinedDelimiter) else { return "\(scheme)://***" }
        if let at = rest.lastIndex(of: "@") {
            return "\(scheme)://***@\(maskedQuery(rest[rest.index(after: at)...]))"
        }
        let hosts = rest.prefix { !"/?#".contains($0) }.split(separator: ",")
        let hasOnlyPorts = hosts.allSatisfy { host in
            guard let colon = host.lastIndex(of: ":"), !host.hasSuffix("]") else { return true }
            return host[colon...].dropFirst().isDigits
        }
        guard hasOnlyPorts else { return "\(scheme)://***" }
        return "\(scheme)://\(maskedQuery(rest))"
    }

    /// Hides a query that is not a database number: `?password=…` is taken by other clients.
    private static func maskedQuery(_ text: Substring) -> String {
        guard let mark = text.firstIndex(where: { "?#".contains($0) }) else { return String(text) }
        let query = text[mark...]
        return query.hasPrefix("?db=") && query.dropFirst(4).isDigits ? String(text) : "\(text[..<mark])?***"
    }

    /// The lower-case scheme and what follows `://`.
    private static func splitScheme(_ url: String) -> (scheme: String, rest: Substring)? {
        guard let colon = url.firstIndex(of: ":"), url[colon...].hasPrefix("://") else { return nil }
        let scheme = url[..<colon]
        guard let first = scheme.utf8.first, isLetter(first), scheme.utf8.allSatisfy(isSchemeByte) else { return nil }
        return (scheme.lowercased(), url[url.index(colon, offsetBy: 3)...])
    }

    /// A character that is more than the delimiter in it, and would be taken for text: a password's colon, say, for a
    /// part of the user's name, which is shown.
    private static func isCombinedDelimiter(_ character: Character) -> Bool {
        let scalars = character.unicodeScalars
        return scalars.count > 1 && scalars.contains { ":/?#@[]%,".unicodeScalars.contains($0) }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    private static func isSchemeByte(_ byte: UInt8) -> Bool {
        isLetter(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "+-.".utf8.contains(byte)
    }

    private static func parseTCP(_ parts: URLParts, _ tls: TLSOptions?) throws(RedisURLError) -> RedisEndpoint {
        guard parts.suffix.isEmpty else { throw .unexpectedQuery }
        var endpoint = RedisEndpoint(
            address: try parseHost(parts.host, defaultPort: RedisEndpoint.defaultPort), user: parts.user,
            password: parts.password, tls: tls
        )
        if parts.path.count > 1 { endpoint.database = try parseDatabase(parts.path.dropFirst()) }
        return endpoint
    }

    private static func parseSentinel(
        _ parts: URLParts, _ tls: TLSOptions?
    ) throws(RedisURLError) -> SentinelGroup {
        guard parts.suffix.isEmpty else { throw .unexpectedQuery }
        let sentinels = try parseHosts(parts.host, defaultPort: SentinelGroup.defaultPort)
        let path = parts.path.dropFirst()
        let name = path.prefix { $0 != "/" }
        let masterName = try PercentCoding.decode(name)
        guard (1...255).contains(masterName.utf8.count), masterName.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            throw .badMasterName
        }
        var master = RedisEndpoint(
            address: sentinels[0], user: parts.user, password: parts.password, tls: tls
        )
        let database = path[name.endIndex...].dropFirst()
        if !database.isEmpty { master.database = try parseDatabase(database) }
        return SentinelGroup(
            sentinels: sentinels.map { RedisEndpoint(address: $0, tls: tls) }, masterName: masterName, master: master
        )
    }

    private static func parseCluster(
        _ parts: URLParts, _ tls: TLSOptions?
    ) throws(RedisURLError) -> [RedisEndpoint] {
        guard parts.suffix.isEmpty else { throw .unexpectedQuery }
        // A cluster has one database.
        guard ["", "/", "/0"].contains(parts.path) else { throw .badDatabase }
        return try parseHosts(parts.host, defaultPort: RedisEndpoint.defaultPort).map {
            RedisEndpoint(address: $0, user: parts.user, password: parts.password, tls: tls)
        }
    }

    private static func parseUnix(_ parts: URLParts) throws(RedisURLError) -> RedisEndpoint {
        guard parts.host.isEmpty, parts.path.count > 1 else { throw .badSocketPath }
        let path = try PercentCoding.decode(parts.path)
        guard !path.utf8.contains(0) else { throw .badSocketPath }
        guard path.utf8.count <= RedisEndpoint.maximumSocketPathBytes else { throw .socketPathTooLong }
        var database = 0
        if !parts.suffix.isEmpty {
            guard parts.suffix.hasPrefix("?db=") else { throw .unexpectedQuery }
            database = try parseDatabase(parts.suffix.dropFirst("?db=".count))
        }
        return RedisEndpoint(
            address: .unix(path: path), user: parts.user, password: parts.password, database: database)
    }

    private static func parseHosts(
        _ text: Substring, defaultPort: Int
    ) throws(RedisURLError) -> [RedisEndpoint.Address] {
        let texts = text.split(separator: ",", maxSplits: maximumHosts, omittingEmptySubsequences: false)
        guard texts.count <= maximumHosts else { throw .tooManyHosts }
        var addresses: [RedisEndpoint.Address] = []
        for text in texts { addresses.append(try parseHost(text, defaultPort: defaultPort)) }
        return addresses
    }

    private static func parseHost(
        _ text: Substring, defaultPort: Int
    ) throws(RedisURLError) -> RedisEndpoint.Address {
        guard !text.isEmpty else { throw .missingHost }
        let name: Substring
        let afterName: Substring
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw .badHost }
            name = text[text.index(after: text.startIndex)..<end]
            afterName = text[text.index(after: end)...]
            guard name.contains(":") else { throw .badHost }
        } else {
            name = text.prefix { $0 != ":" }
            afterName = text[name.endIndex...]
            guard !name.contains(where: { "[]".contains($0) }) else { throw .badHost }
        }
        guard !name.isEmpty else { throw .missingHost }
        let host = try PercentCoding.decode(name)
        guard host.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else { throw .badHost }
        guard !afterName.isEmpty else { return .tcp(host: host, port: defaultPort) }
        guard afterName.hasPrefix(":") else { throw .badHost }
        guard let port = afterName.dropFirst().decimalNumber, (1...65_535).contains(port) else { throw .badPort }
        return .tcp(host: host, port: port)
    }

    private static func parseDatabase(_ text: Substring) throws(RedisURLError) -> Int {
        guard let database = text.decimalNumber, RedisEndpoint.databases.contains(database) else { throw .badDatabase }
        return database
    }
}

/// What follows `scheme://`, taken apart as every Redis scheme writes it.
private struct URLParts {
    var user: String?
    var password: Secret?
    /// Host and port, still percent-encoded.
    var host: Substring
    /// From the first slash, still percent-encoded.
    var path: Substring
    /// From the `?` or `#` on, or empty.
    var suffix: Substring

    init(_ rest: Substring) throws(RedisURLError) {
        let authority = rest.prefix { !"/?#".contains($0) }
        let afterAuthority = rest[authority.endIndex...]
        guard !afterAuthority.contains("@") || authority.contains("@") else { throw .unencodedLogin }
        path = afterAuthority.prefix { !"?#".contains($0) }
        suffix = afterAuthority[path.endIndex...]
        host = authority
        if let at = authority.lastIndex(of: "@") {
            host = authority[authority.index(after: at)...]
            let login = authority[..<at]
            let name = login.prefix { $0 != ":" }
            let secret = login[name.endIndex...].dropFirst()
            if !name.isEmpty { user = try PercentCoding.decode(name) }
            if !secret.isEmpty { password = Secret(try PercentCoding.decode(secret)) }
        }
    }
}

/// Percent-encoding as RFC 3986 has it, over UTF-8.
package enum PercentCoding {
    /// The text that this one encodes.
    package static func decode(_ text: Substring) throws(RedisURLError) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst()?.hexadecimalValue, let low = rest.popFirst()?.hexadecimalValue else {
                throw .badPercentEncoding
            }
            bytes.append(high << 4 | low)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else { throw .badPercentEncoding }
        return decoded
    }

    /// A text with all but letters, digits, `-._~` and what is kept encoded.
    package static func encode(_ text: String, keeping kept: String = "") -> String {
        var encoded = ""
        for byte in text.utf8 {
            if byte.isUnreserved || kept.utf8.contains(byte) {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                encoded += byte < 16 ? "%0" : "%"
                encoded += String(byte, radix: 16, uppercase: true)
            }
        }
        return encoded
    }
}

extension UInt8 {
    fileprivate var hexadecimalValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    fileprivate var isUnreserved: Bool {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default:
            "-._~".utf8.contains(self)
        }
    }
}

extension Substring {
    fileprivate var isDigits: Bool {
        !isEmpty && utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    /// A number written with one to five digits and nothing else: `Int` alone would also take "+1".
    fileprivate var decimalNumber: Int? {
        isDigits && utf8.count <= 5 ? Int(self) : nil
    }
}
