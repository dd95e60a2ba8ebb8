/// Who calls, and what the call says of itself, where only headers and the peer tell it.
///
/// A caller is one of three kinds, each with subjects of its own: a text that a header names, unless it begins like those of
/// the other two; ``keyPrefix`` and a hash; ``addressPrefix`` and an address.
public struct CallerRules: Hashable, Sendable {
    /// What the subject of a token begins with.
    public static let keyPrefix = "api-key:"
    /// What the subject of an address begins with.
    public static let addressPrefix = "address:"
    /// How many bytes a header has that is the id of a check.
    public static let idLengths = 1...256
    /// Of IPv6 addresses so many bits are the client's: one household or machine has them all.
    private static let ipv6Bits = 64

    /// The header whose text is the user; nil where none is looked at.
    public var userHeader: HeaderName?
    /// The key for the hashes of tokens; nil where tokens are passed over.
    public var tokenKey: TokenKey?
    /// Whose `X-Forwarded-For` is believed.
    public var trustedProxies: TrustedProxies
    /// Which headers say what of a call.
    public var headers: HeaderMap
    /// The header that the gateway sets to an id of the call, by which it is charged once; nil where none is looked at.
    public var idHeader: HeaderName?

    /// Makes rules.
    public init(
        userHeader: HeaderName? = .userID, tokenKey: TokenKey? = nil, trustedProxies: TrustedProxies = .none,
        headers: HeaderMap = .none, idHeader: HeaderName? = nil
    ) {
        self.userHeader = userHeader
        self.tokenKey = tokenKey
        self.trustedProxies = trustedProxies
        self.headers = headers
        self.idHeader = idHeader
    }

    /// Who calls.
    ///
    /// - Parameter values: the values of a header, each as often as it was sent.
    public func caller(
        at peer: ConnectionPeer, _ values: (HeaderName) -> [String]
    ) throws(CallerProblem) -> SubjectID {
        if let userHeader, let text = try Self.text(of: userHeader, values) {
            let isReserved = [Self.keyPrefix, Self.addressPrefix].contains { text.utf8.starts(with: $0.utf8) }
            if isReserved { throw .reserved(userHeader) }
            return try Self.subject(text, in: userHeader)
        }
        if let tokenKey {
            if let text = try Self.text(of: .authorization, values), let token = Self.bearerToken(text) {
                return tokenKey.subject(ofToken: token)
            }
            if let token = try Self.text(of: .apiKey, values) { return tokenKey.subject(ofToken: token) }
        }
        guard let address = trustedProxies.client(of: peer, forwardedFor: values(.forwardedFor)) else { throw .nobody }
        return Self.subject(of: address)
    }

    /// What a call says of itself.
    ///
    /// - Parameters:
    ///   - labelNames: the labels that some limit looks at.
    ///   - readsGroups: whether the groups that count are those a call names.
    ///   - limits: those whose quotas headers may say.
    public func attributes(
        labelNames: Set<String>, readsGroups: Bool, limits: LimitSet = .empty, _ values: (HeaderName) -> [String]
    ) throws(CallerProblem) -> CallAttributes {
        guard !headers.pairs.isEmpty else { return .none }
        var model: String?
        var provider: String?
        var labels: [String: String] = [:]
        var groups: [SubjectID] = []
        var quotas: [CallQuota] = []
        for pair in headers.pairs {
            let header = pair.header
            guard let text = try Self.text(of: header, values) else { continue }
            switch pair.attribute {
            case .model: model = text
            case .provider: provider = text
            case .label(let name): if labelNames.contains(name) { labels[name] = text }
            case .group: if readsGroups { groups.append(try Self.subject(text, in: header)) }
            case .quota(let limit):
                guard let amount = WholeNumber.read(text.utf8), LimitDefinition.quotas.contains(amount) else {
                    throw .notAQuota(header)
                }
                if let quota = limits.callQuota(named: limit.text, amount).quota { quotas.append(quota) }
            }
        }
        return CallAttributes(model: model, provider: provider, labels: labels, groups: groups, quotas: quotas)
    }

    /// The id of a call; nil where the gateway gives none.
    public func callID(_ values: (HeaderName) -> [String]) throws(CallerProblem) -> [UInt8]? {
        guard let idHeader else { return nil }
        return try Self.id(in: idHeader, values)
    }

    /// The id that a header has; nil where it is not there, or empty.
    public static func id(
        in header: HeaderName, _ values: (HeaderName) -> [String]
    ) throws(CallerProblem) -> [UInt8]? {
        guard let text = try text(of: header, values) else { return nil }
        guard idLengths ~= text.utf8.count else { throw .longID(header) }
        return Array(text.utf8)
    }

    /// Who is at an address.
    private static func subject(of address: IPAddress) -> SubjectID {
        let text = address.isIPv4 ? "\(address)" : "\(address.prefix(ipv6Bits))/\(ipv6Bits)"
        guard let subject = SubjectID(addressPrefix + text) else {
            preconditionFailure("a text of ASCII that is so short is a subject")
        }
        return subject
    }

    private static func subject(_ text: String, in header: HeaderName) throws(CallerProblem) -> SubjectID {
        guard let subject = SubjectID(text) else { throw .notASubject(header) }
        return subject
    }

    /// The text of a header; nil where it is not there, or empty.
    private static func text(
        of header: HeaderName, _ values: (HeaderName) -> [String]
    ) throws(CallerProblem) -> String? {
        let texts = values(header)
        // Which of several is the gateway's and which the client's nobody can tell.
        guard texts.count <= 1 else { throw .repeated(header) }
        // Blanks around a value are none of it (RFC 9110, section 5.5); the decoder leaves tabs behind it.
        guard let text = texts.first.map({ String(trimmed($0[...])) }), !text.isEmpty else { return nil }
        // What was no UTF-8 has become this character, as other texts have.
        guard !text.unicodeScalars.contains("\u{fffd}") else { throw .notUTF8(header) }
        return text
    }

    /// The token of `Bearer <token>`, its scheme in any case; nil for another scheme, and where no token follows.
    private static func bearerToken(_ text: String) -> String? {
        let parts = text.utf8.split(separator: UInt8(ascii: " "), maxSplits: 1)
        guard parts.count == 2, Substring(parts[0]).lowercased() == "bearer" else { return nil }
        let token = trimmed(Substring(parts[1]))
        return token.isEmpty ? nil : String(token)
    }
}

/// Why nobody can be named.
public enum CallerProblem: Error, Hashable, Sendable {
    /// No header names the caller, and there is no address.
    case nobody
    /// A header stands more than once.
    case repeated(HeaderName)
    /// A header's text is no UTF-8.
    case notUTF8(HeaderName)
    /// A header's text can be no user and no group.
    case notASubject(HeaderName)
    /// A header's text is too long for an id.
    case longID(HeaderName)
    /// A header's text is no quota.
    case notAQuota(HeaderName)
    /// A user's text begins like a subject of another kind.
    case reserved(HeaderName)
}

extension CallerProblem: CustomStringConvertible {
    /// What is wrong and what is accepted, in one sentence or two of ASCII.
    public var description: String {
        switch self {
        case .nobody:
            "Nobody is named: there is no user header, no token that counts, and no address."
        case .repeated(let header): "The header \(header) stands more than once."
        case .notUTF8(let header): "The header \(header) is no UTF-8."
        case .notASubject(let header): "The header \(header) is not \(SubjectID.accepted)."
        case .longID(let header): "The header \(header) has more than \(CallerRules.idLengths.upperBound) bytes."
        case .notAQuota(let header):
            "The header \(header) is no whole number from 0 to \(LimitDefinition.quotas.upperBound)."
        case .reserved(let header):
            "The header \(header) begins with \(CallerRules.keyPrefix) or \(CallerRules.addressPrefix), which are not for users."
        }
    }
}
