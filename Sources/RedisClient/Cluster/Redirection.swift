/// What a node of a cluster says of a command that it did not run because of where the key is.
package enum Redirection: Hashable, Sendable {
    /// The slot is another node's from now on.
    case moved(HashSlot, to: RedisEndpoint.Address)
    /// The slot is on its way to another node, and this key would be there already: ask there, with ASKING in front.
    case ask(RedisEndpoint.Address)
    /// Some of the command's keys have moved with their slot and some have not.
    case tryAgain
    /// The cluster cannot serve the slot, or anything.
    case clusterDown

    /// Reads an error's text; nil where it is another error.
    ///
    /// - Parameter asked: the node that sent it: an error without a host means the same host.
    package init?(_ error: String, from asked: RedisEndpoint.Address) {
        let words = error.split(separator: " ", maxSplits: 3)
        switch words.first {
        case "MOVED":
            guard words.count == 3, let number = Int(words[1]), let slot = HashSlot(number),
                let address = Self.address(words[2], from: asked)
            else { return nil }
            self = .moved(slot, to: address)
        case "ASK":
            guard words.count == 3, let address = Self.address(words[2], from: asked) else { return nil }
            self = .ask(address)
        case "TRYAGAIN": self = .tryAgain
        case "CLUSTERDOWN": self = .clusterDown
        default: return nil
        }
    }

    /// `host:port`, where an IPv6 address has no brackets, and a host that is missing or `?` is the one that was asked.
    private static func address(_ text: Substring, from asked: RedisEndpoint.Address) -> RedisEndpoint.Address? {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]) else { return nil }
        return asked.neighbour(host: String(text[..<colon]), port: port)
    }
}

extension RedisEndpoint.Address {
    /// The address of another node as this one tells it; nil where it is none.
    func neighbour(host: String?, port: Int) -> RedisEndpoint.Address? {
        guard (1...65_535).contains(port) else { return nil }
        if let host, !host.isEmpty, host != "?" {
            return host.utf8.count <= 255 ? .tcp(host: host, port: port) : nil
        }
        guard case .tcp(let asked, _) = self else { return nil }
        return .tcp(host: asked, port: port)
    }
}
