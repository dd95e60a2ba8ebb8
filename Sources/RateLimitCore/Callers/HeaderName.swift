/// The name of a header field that says something of a caller; compared without regard to case.
public struct HeaderName: Sendable, CustomStringConvertible {
    /// How many bytes it has.
    public static let lengths = 1...64
    /// What is accepted, as a part of a sentence.
    public static let accepted =
        "names of headers, \(lengths.lowerBound) to \(lengths.upperBound) letters, digits and - _, but not those of secrets"

    /// As it was written.
    public let description: String
    private let folded: String

    /// Headers whose values are secrets, which would stand in keys and pages.
    private static let secrets: Set<String> = ["authorization", "proxy-authorization", "cookie", "x-api-key"]

    /// Takes a name; nil where it is none, or one of a header that holds a secret.
    public init?(_ text: some StringProtocol) {
        let isName = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard isName, Self.lengths ~= text.utf8.count, !Self.secrets.contains(text.lowercased()) else { return nil }
        self.init(known: String(text))
    }

    private init(known text: String) {
        description = text
        folded = text.lowercased()
    }

    /// `X-User-Id`.
    public static let userID = HeaderName(known: "X-User-Id")
    /// `Idempotency-Key`.
    public static let idempotencyKey = HeaderName(known: "Idempotency-Key")
    static let authorization = HeaderName(known: "Authorization")
    static let apiKey = HeaderName(known: "X-Api-Key")
    static let forwardedFor = HeaderName(known: "X-Forwarded-For")
}

extension HeaderName: Hashable {
    /// Whether both are the same, whatever the case of their letters.
    public static func == (one: Self, other: Self) -> Bool { one.folded == other.folded }

    /// Takes the name in small letters.
    public func hash(into hasher: inout Hasher) { hasher.combine(folded) }
}

/// Which headers say what of a call, as `group=X-Team, model=X-Model, label.tenant=X-Tenant`.
public struct HeaderMap: Hashable, Sendable, CustomStringConvertible {
    /// What a header may say.
    public enum Attribute: Hashable, Sendable, CustomStringConvertible {
        case group
        case model
        case provider
        case label(String)
        case quota(LimitName)

        init?(_ text: Substring) {
            switch text {
            case "group": self = .group
            case "model": self = .model
            case "provider": self = .provider
            default:
                if let limit = text.text(behind: "quota.").flatMap({ LimitName($0) }) {
                    self = .quota(limit)
                    return
                }
                guard let name = text.text(behind: "label."), CallAttributes.nameLengths ~= name.utf8.count else {
                    return nil
                }
                self = .label(name)
            }
        }

        /// As it is written: `label.tenant`.
        public var description: String {
            switch self {
            case .group: "group"
            case .model: "model"
            case .provider: "provider"
            case .label(let name): "label.\(name)"
            case .quota(let limit): "quota.\(limit)"
            }
        }
    }

    /// Why a text is no map.
    public enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        case tooMany(Int)
        case notAPair(String)
        case unknownAttribute(String)
        case notAHeader(String)
        case repeated(String)

        /// What is wrong.
        public var description: String {
            switch self {
            case .tooMany(let count): "it has \(count) pairs"
            case .notAPair(let text): "\(text) is no pair of what a header says and its name"
            case .unknownAttribute(let text): "\(text) is nothing that a header can say"
            case .notAHeader(let text): "\(text) is no name of a header, or one of a secret"
            case .repeated(let text): "\(text) stands twice"
            }
        }
    }

    /// How many pairs there may be.
    public static let maximum = 32
    /// What is accepted, as a part of a sentence.
    public static let accepted =
        "1 to \(maximum) pairs such as group=X-Team, model=X-Model, provider=X-Provider and label.tenant=X-Tenant, "
        + "with commas between them"
    /// No header says anything.
    public static let none = HeaderMap()

    /// In the order in which they were written.
    let pairs: [Pair]

    /// What a header says, and its name.
    struct Pair: Hashable, Sendable {
        var attribute: Attribute
        var header: HeaderName
    }

    private init() { pairs = [] }

    /// Reads pairs with commas between them; blanks around each are passed over. Several headers may each name a group.
    public init(_ text: String) throws(Problem) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count <= Self.maximum else { throw .tooMany(parts.count) }
        var pairs: [Pair] = []
        for part in parts {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(trimmed)
            guard sides.count == 2 else { throw .notAPair(String(trimmed(part))) }
            guard let attribute = Attribute(sides[0]) else { throw .unknownAttribute(String(sides[0])) }
            guard let header = HeaderName(sides[1]) else { throw .notAHeader(String(sides[1])) }
            let isRepeated = pairs.contains { pair in
                pair.attribute == attribute && (attribute != .group || pair.header == header)
            }
            if isRepeated { throw .repeated(attribute.description) }
            pairs.append(Pair(attribute: attribute, header: header))
        }
        self.pairs = pairs
    }

    /// Whether a header names a group.
    public var namesGroups: Bool { pairs.contains { $0.attribute == .group } }

    /// The pairs as they are read, with commas between them.
    public var description: String {
        pairs.map { "\($0.attribute)=\($0.header)" }.joined(separator: ",")
    }
}
