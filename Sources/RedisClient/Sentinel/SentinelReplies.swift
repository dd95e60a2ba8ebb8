/// What a Sentinel says of the master.
enum SentinelAnswer: Equatable {
    /// Where the master is, and the epoch of the configuration that made it one.
    case names(RedisEndpoint.Address, configEpoch: Int)
    /// The Sentinel watches no master of that name.
    case unknownName
}

/// A Sentinel that another one tells of.
struct SentinelPeer: Equatable {
    var address: RedisEndpoint.Address
    var id: String
}

/// The replies of a Sentinel, read with a bound on all they hold.
enum SentinelReplies {
    /// The answer to `SENTINEL GET-MASTER-ADDR-BY-NAME`: nil inside where the name is not known, nil for another reply.
    static func masterAddress(_ reply: Reply) -> RedisEndpoint.Address?? {
        switch reply.elements.first {
        case .null: return .some(nil)
        case .array(count: 2) where reply.elements.count == 3:
            let texts = reply.elements.dropFirst().compactMap { reply.text(of: $0) }
            guard texts.count == 2, let address = address(host: texts[0], port: texts[1]) else { return nil }
            return address
        default: return nil
        }
    }

    /// The epoch in the answer to `SENTINEL MASTER`; 0 where it tells none.
    static func configEpoch(_ reply: Reply) -> Int {
        fieldLists(reply).first?["config-epoch"].flatMap { Int($0) } ?? 0
    }

    /// The others in the answer to `SENTINEL SENTINELS`, as many as a URL may name at most.
    static func peers(_ reply: Reply) -> [SentinelPeer] {
        fieldLists(reply).prefix(RedisTopology.maximumHosts).compactMap { fields in
            guard let id = fields["runid"], isID(id), let host = fields["ip"], let port = fields["port"],
                let address = address(host: host, port: port)
            else { return nil }
            return SentinelPeer(address: address, id: id)
        }
    }

    /// The answer to `SENTINEL MYID`; nil where it is none.
    static func id(_ reply: Reply) -> String? {
        guard reply.elements.count == 1, case .bulk? = reply.elements.first else { return nil }
        return reply.text(of: reply.elements[0]).flatMap { isID($0) ? $0 : nil }
    }

    private static func isID(_ text: String) -> Bool {
        text.utf8.count == 40 && text.allSatisfy { $0.isASCII && $0.isHexDigit }
    }

    private static func address(host: String, port: String) -> RedisEndpoint.Address? {
        guard (1...255).contains(host.utf8.count), host.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }),
            let port = Int(port), (1...65_535).contains(port)
        else { return nil }
        return .tcp(host: host, port: port)
    }

    /// Lists of names and values, as Sentinels describe servers: one, or an array of them.
    private static func fieldLists(_ reply: Reply) -> [[String: String]] {
        var lists: [[String: String]] = []
        var name: String?
        for element in reply.elements {
            if case .array = element {
                name = nil
                lists.append([:])
                continue
            }
            guard !lists.isEmpty, let text = reply.text(of: element) else { continue }
            if let field = name {
                lists[lists.count - 1][field] = text
                name = nil
            } else {
                name = text
            }
        }
        return lists.filter { !$0.isEmpty }
    }
}
