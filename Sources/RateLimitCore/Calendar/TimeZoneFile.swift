extension TimeZoneRules {
    /// The longest file that is read, in bytes; real ones have less than 4 KiB.
    public static let maximumFileBytes = 1 << 16

    /// Reads the bytes of a TZif file of version 1 to 4 (RFC 9636).
    public init(name: String, file: [UInt8]) throws(TimeZoneFileError) {
        guard file.count <= Self.maximumFileBytes else { throw .tooLong }
        var reader = TimeZoneFileReader(bytes: file)
        self = try reader.rules(name: name)
    }
}

/// Why bytes are no time zone's file.
public enum TimeZoneFileError: Error, Hashable, Sendable, CaseIterable {
    /// There are more than ``TimeZoneRules/maximumFileBytes``.
    case tooLong
    /// It does not begin with `TZif`.
    case notTimeZoneFile
    /// It is of a version other than 1 to 4.
    case unknownVersion
    /// It ends too early.
    case truncated
    /// There are bytes behind its end.
    case trailingBytes
    /// Its counts contradict each other.
    case counts
    /// Its changes do not ascend in time.
    case changesOutOfOrder
    /// It refers to something it does not hold.
    case badIndex
    /// An offset is further from UTC than 26 hours, or a flag is neither 0 nor 1.
    case badLocalTime
    /// The rule in its footer is not one of POSIX.
    case badFooter
    /// It counts leap seconds.
    case leapSeconds
}

extension TimeZoneFileError: CustomStringConvertible {
    /// The reason alone.
    public var description: String {
        switch self {
        case .tooLong: "it is longer than \(TimeZoneRules.maximumFileBytes / 1024) KiB"
        case .notTimeZoneFile: "it is not a TZif file"
        case .unknownVersion: "it is a TZif file of a version other than 1 to 4"
        case .truncated: "it ends too early"
        case .trailingBytes: "there is something behind its end"
        case .counts: "its counts contradict each other"
        case .changesOutOfOrder: "its changes do not ascend in time"
        case .badIndex: "it refers to something it does not hold"
        case .badLocalTime: "it holds a local time that cannot be"
        case .badFooter: "the rule in its footer cannot be read"
        case .leapSeconds: "it counts leap seconds, as the files in right/ do"
        }
    }
}

private struct TimeZoneFileReader {
    let bytes: [UInt8]
    var position = 0

    struct Header {
        var version: UInt8
        var utcFlags, standardFlags, leapSeconds, changes, types, characters: Int

        /// How many bytes the data behind the header take.
        func length(timeBytes: Int) -> Int {
            changes * (timeBytes + 1) + types * 6 + characters + leapSeconds * (timeBytes + 4) + standardFlags
                + utcFlags
        }
    }

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func rules(name: String) throws(TimeZoneFileError) -> TimeZoneRules {
        let first = try header()
        guard first.version > 0 else {
            let (offset, changes) = try data(first, timeBytes: 4)
            guard position == bytes.count else { throw .trailingBytes }
            return TimeZoneRules(name: name, firstOffset: offset, changes: changes, footer: nil)
        }
        // The first block is for readers that know nothing of the second.
        try skip(first.length(timeBytes: 4))
        let second = try header()
        guard second.version == first.version else { throw .unknownVersion }
        let (offset, changes) = try data(second, timeBytes: 8)
        return TimeZoneRules(name: name, firstOffset: offset, changes: changes, footer: try footer())
    }

    private mutating func skip(_ count: Int) throws(TimeZoneFileError) {
        guard count <= bytes.count - position else { throw .truncated }
        position += count
    }

    /// The next `count` bytes as a number, the first being the highest.
    private mutating func number(_ count: Int) throws(TimeZoneFileError) -> UInt64 {
        let start = position
        try skip(count)
        return bytes[start..<position].reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func header() throws(TimeZoneFileError) -> Header {
        let start = position
        guard bytes.count - start >= 4 else { throw start == 0 ? .notTimeZoneFile : .truncated }
        try skip(4)
        guard bytes[start..<position].elementsEqual("TZif".utf8) else { throw .notTimeZoneFile }
        let version = UInt8(truncatingIfNeeded: try number(1))
        guard version == 0 || (UInt8(ascii: "2")...UInt8(ascii: "4")).contains(version) else { throw .unknownVersion }
        try skip(15)
        var counts: [Int] = []
        for _ in 0..<6 { counts.append(Int(try number(4))) }
        return Header(
            version: version, utcFlags: counts[0], standardFlags: counts[1], leapSeconds: counts[2],
            changes: counts[3], types: counts[4], characters: counts[5])
    }

    private mutating func data(
        _ header: Header, timeBytes: Int
    ) throws(TimeZoneFileError) -> (firstOffset: Int, changes: [TimeZoneRules.Change]) {
        guard (1...256).contains(header.types), header.characters >= 1,
            [0, header.types].contains(header.utcFlags), [0, header.types].contains(header.standardFlags)
        else { throw .counts }
        guard header.length(timeBytes: timeBytes) <= bytes.count - position else { throw .truncated }
        guard header.leapSeconds == 0 else { throw .leapSeconds }
        var instants: [Int] = []
        instants.reserveCapacity(header.changes)
        for _ in 0..<header.changes {
            let raw = try number(timeBytes)
            let instant =
                timeBytes == 4
                ? Int(Int32(truncatingIfNeeded: raw)) : Int(Int64(bitPattern: raw))
            if let last = instants.last, last >= instant { throw .changesOutOfOrder }
            instants.append(instant)
        }
        let typeStart = position
        try skip(header.changes)
        let offsets = try localTimes(header)
        var changes: [TimeZoneRules.Change] = []
        changes.reserveCapacity(instants.count)
        for (index, instant) in instants.enumerated() {
            let type = Int(bytes[typeStart + index])
            guard type < offsets.count else { throw .badIndex }
            changes.append(TimeZoneRules.Change(instant: instant, offset: offsets[type]))
        }
        for _ in 0..<header.standardFlags + header.utcFlags {
            guard try number(1) <= 1 else { throw .badLocalTime }
        }
        return (offsets[0], changes)
    }

    private mutating func localTimes(_ header: Header) throws(TimeZoneFileError) -> [Int] {
        var offsets: [Int] = []
        for _ in 0..<header.types {
            let offset = Int(Int32(truncatingIfNeeded: try number(4)))
            guard TimeZoneRules.offsets.contains(offset), try number(1) <= 1 else { throw .badLocalTime }
            guard try number(1) < header.characters else { throw .badIndex }
            offsets.append(offset)
        }
        let start = position
        try skip(header.characters)
        guard bytes[start..<position].last == 0 else { throw .badIndex }
        return offsets
    }

    private mutating func footer() throws(TimeZoneFileError) -> PosixTimeZone? {
        guard position < bytes.count else { throw .truncated }
        guard bytes[position] == UInt8(ascii: "\n") else { throw .badFooter }
        let text = bytes[(position + 1)...]
        guard let end = text.firstIndex(of: UInt8(ascii: "\n")) else { throw .truncated }
        guard end == bytes.count - 1 else { throw .trailingBytes }
        guard end > text.startIndex else { return nil }
        guard let zone = PosixTimeZone(text[..<end]) else { throw .badFooter }
        return zone
    }
}
