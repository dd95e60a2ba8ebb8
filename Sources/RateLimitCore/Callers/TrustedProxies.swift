/// Who is at the other end of a connection.
public enum ConnectionPeer: Hashable, Sendable {
    /// Somebody at an address, on TCP.
    case address(IPAddress)
    /// Somebody on a Unix socket, which has no addresses.
    case unixSocket
}

/// The proxies that are believed when they say for whom they ask: ranges of addresses, and `unix` for whoever is on a Unix
/// socket.
public struct TrustedProxies: Hashable, Sendable, CustomStringConvertible {
    /// How many ranges there may be.
    public static let maximum = 64
    /// What is accepted, as a part of a sentence.
    public static let accepted =
        "1 to \(maximum) addresses, ranges such as 10.0.0.0/8 and 2001:db8::/32, and unix for Unix sockets, "
        + "with commas between them"
    /// Nobody is believed.
    public static let none = TrustedProxies()

    private var ranges: [AddressRange] = []
    private var trustsUnixSockets = false

    /// Why a text names no proxies.
    public enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        case tooMany(Int)
        case range(AddressRange.Problem)

        /// What is wrong.
        public var description: String {
            switch self {
            case .tooMany(let count): "it names \(count) ranges"
            case .range(let problem): "\(problem)"
            }
        }
    }

    private init() {}

    /// Reads ranges with commas between them; blanks around each are passed over.
    public init(_ text: String) throws(Problem) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count <= Self.maximum else { throw .tooMany(parts.count) }
        for part in parts {
            let name = trimmed(part)
            if name == "unix" {
                trustsUnixSockets = true
                continue
            }
            do throws(AddressRange.Problem) {
                ranges.append(try AddressRange(name))
            } catch {
                throw .range(error)
            }
        }
    }

    /// The ranges with commas between them, `unix` last.
    public var description: String {
        (ranges.map(\.description) + (trustsUnixSockets ? ["unix"] : [])).joined(separator: ",")
    }

    /// Whether somebody at an address is believed.
    public func contains(_ address: IPAddress) -> Bool { ranges.contains { $0.contains(address) } }

    /// Whether a peer is believed.
    public func contains(_ peer: ConnectionPeer) -> Bool {
        switch peer {
        case .address(let address): contains(address)
        case .unixSocket: trustsUnixSockets
        }
    }

    /// Where the client behind a peer is; nil where only a Unix socket is known.
    ///
    /// Each proxy appends whom it was asked by. So the chain is read from its end, for as long as whoever wrote is a trusted
    /// proxy: what stands before the first that is none is the client's own, who may have written anything. Something that
    /// is no address ends the chain as well, and who is nearest to it is taken.
    ///
    /// - Parameter forwardedFor: the values of `X-Forwarded-For`, in the order in which they were sent.
    public func client(of peer: ConnectionPeer, forwardedFor: [String]) -> IPAddress? {
        var nearest: IPAddress? = if case .address(let address) = peer { address } else { nil }
        guard contains(peer) else { return nearest }
        for value in forwardedFor.reversed() {
            var rest = value[...]
            while true {
                // By bytes: a character that joins with the comma behind it would hide what a proxy appended.
                let comma = rest.utf8.lastIndex(of: UInt8(ascii: ","))
                let entry = comma.map { rest[rest.utf8.index(after: $0)...] } ?? rest
                guard let address = Self.address(trimmed(entry)) else { return nearest }
                guard contains(address) else { return address }
                nearest = address
                guard let comma else { break }
                rest = rest[..<comma]
            }
        }
        return nearest
    }

    /// Reads an address as proxies write it: `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
    private static func address(_ text: Substring) -> IPAddress? {
        if let address = IPAddress(text) { return address }
        guard text.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") && isPort(rest.dropFirst()) else { return nil }
            let address = text[..<end].dropFirst()
            return address.contains(":") ? IPAddress(address) : nil
        }
        guard let colon = text.lastIndex(of: ":"), isPort(text[text.index(after: colon)...]),
            !text[..<colon].contains(":")
        else { return nil }
        return IPAddress(text[..<colon])
    }

    private static func isPort(_ text: Substring) -> Bool {
        1...5 ~= text.utf8.count && text.utf8.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
    }
}

/// A text without the blanks and tabs around it.
func trimmed(_ text: Substring) -> Substring {
    func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
    let bytes = text.utf8
    guard let first = bytes.firstIndex(where: { !isBlank($0) }), let last = bytes.lastIndex(where: { !isBlank($0) })
    else { return text[text.endIndex...] }
    return text[first..<bytes.index(after: last)]
}
