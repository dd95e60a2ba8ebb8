/// What the configuration says of a limit for the proxy alone: a map of JSON's, in the file's order.
public struct DescriptorMetadata: Hashable, Sendable {
    /// What stands under a key, as JSON has it.
    public indirect enum Value: Hashable, Sendable {
        case null
        case flag(Bool)
        /// A finite number.
        case number(Double)
        case text(String)
        case list([Value])
        case map(DescriptorMetadata)
    }

    /// One key with its value.
    public struct Entry: Hashable, Sendable {
        /// The key.
        public var key: String
        /// The value.
        public var value: Value

        /// Makes an entry.
        public init(_ key: String, _ value: Value) {
            self.key = key
            self.value = value
        }
    }

    /// The entries; no key comes twice.
    public private(set) var entries: [Entry]

    /// How much a descriptor may say, in bytes of its keys and texts and ``bytesOfValue`` for each value.
    public static let mostBytes = 4_096
    /// What each value counts for beside its text.
    public static let bytesOfValue = 8
    /// In how many levels it may say so: a proxy reads no message that is nested without end.
    public static let mostLevels = 16

    /// Takes entries of which no two have one key.
    public init(_ entries: [Entry] = []) { self.entries = entries }

    /// Takes over what another one says besides: of two values of one key the first stays, unless both are maps.
    public mutating func merge(_ other: DescriptorMetadata) {
        var places: [ExactText: Int] = [:]
        for (place, entry) in entries.enumerated() { places[ExactText(entry.key)] = place }
        for entry in other.entries {
            guard let place = places[ExactText(entry.key)] else {
                entries.append(entry)
                continue
            }
            guard case .map(var map) = entries[place].value, case .map(let more) = entry.value else { continue }
            map.merge(more)
            entries[place].value = .map(map)
        }
    }

    /// How much it says, as ``mostBytes`` counts.
    public var bytes: Int { entries.reduce(0) { $0 + $1.key.utf8.count + $1.value.bytes } }

    /// In how many levels it says so, at least 1.
    public var levels: Int { 1 + (entries.map(\.value.levels).max() ?? 0) }
}

extension DescriptorMetadata.Value {
    fileprivate var bytes: Int {
        DescriptorMetadata.bytesOfValue
            + {
                switch self {
                case .null, .flag, .number: 0
                case .text(let text): text.utf8.count
                case .list(let values): values.reduce(0) { $0 + $1.bytes }
                case .map(let map): map.bytes
                }
            }()
    }

    fileprivate var levels: Int {
        switch self {
        case .null, .flag, .number, .text: 0
        case .list(let values): 1 + (values.map(\.levels).max() ?? 0)
        case .map(let map): map.levels
        }
    }
}
