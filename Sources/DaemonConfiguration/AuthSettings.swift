public import RateLimitCore
import RedisClient

/// The secret by which `/v1/auth` hashes tokens, as its file had it when it was read: at the start and at each reload.
public struct AuthSecret: Sendable, Equatable {
    /// Where the file is.
    public let path: String
    /// The key that the secret stands for.
    public let key: TokenKey
    /// Whether users outside the file's owner and group could read it.
    let isReadableByEveryone: Bool
}

extension Settings {
    /// Who calls where headers and the peer alone tell it.
    public var callers: CallerRules {
        CallerRules(
            userHeader: authUserHeader, tokenKey: authSecret?.key, trustedProxies: trustedProxies, headers: authHeaders,
            idHeader: authIDHeader)
    }
}

extension ValueSyntax where Value == AuthSecret {
    static var authSecret: Self {
        let file = ValueSyntax<SecretFile>.secretFile
        return Self(
            placeholder: file.placeholder,
            accepted: "\(file.accepted), with \(TokenKey.shortestSecret) bytes at least",
            parse: { path throws(ValueRejection) in
                let file = try file.parse(path)
                guard let key = TokenKey(secret: file.secret.reveal()) else {
                    throw ValueRejection("its line is shorter than \(TokenKey.shortestSecret) bytes")
                }
                return AuthSecret(path: path, key: key, isReadableByEveryone: file.isReadableByEveryone)
            },
            render: \.path)
    }
}

extension ValueSyntax where Value == HeaderName {
    static var headerName: Self {
        Self(
            placeholder: "header", accepted: HeaderName.accepted,
            parse: { text throws(ValueRejection) in
                try checkWord(text)
                guard let name = HeaderName(text) else { throw ValueRejection() }
                return name
            },
            render: \.description)
    }
}

extension ValueSyntax where Value == HeaderMap {
    static var headerMap: Self {
        Self(
            placeholder: "what=header,…", accepted: HeaderMap.accepted,
            parse: { text throws(ValueRejection) in
                try checkBlanks(text)
                do throws(HeaderMap.Problem) {
                    return try HeaderMap(text)
                } catch {
                    throw ValueRejection("\(error)")
                }
            },
            render: \.description)
    }
}

extension ValueSyntax where Value == TrustedProxies {
    static var trustedProxies: Self {
        Self(
            placeholder: "range,…", accepted: TrustedProxies.accepted,
            parse: { text throws(ValueRejection) in
                try checkBlanks(text)
                do throws(TrustedProxies.Problem) {
                    return try TrustedProxies(text)
                } catch {
                    throw ValueRejection("\(error)")
                }
            },
            render: \.description)
    }
}
