import BoundedFiles

/// A value of the file with the line it begins on: what YAML and JSON have in common, and nothing else.
struct FileNode: Hashable {
    enum Content: Hashable {
        /// A text or number, as written.
        case text(String)
        case list([FileNode])
        /// In the file's order; no key comes twice.
        case map([Entry])
        /// `null` or `~`: as left out.
        case null
        /// Nothing at all, where YAML takes null as well: more likely forgotten than meant.
        case nothing
    }

    struct Entry: Hashable {
        var key: String
        var line: Int
        var value: FileNode
    }

    var line: Int
    var content: Content
    /// Whether a text stands in quotes, or as a block, and so is no number, truth value or null.
    var isQuoted = false

    /// How long a file may be, in bytes.
    static let maximumBytes = 1 << 20
    /// How many values may stand in one another in a limits file.
    static let maximumDepth = 8
    /// How many values a file may hold.
    static let maximumValues = 100_000

    /// Reads a whole file: JSON where it is that, else YAML. A byte order mark before it is passed over.
    ///
    /// - Parameter maximumDepth: how many values may stand in one another.
    init(reading bytes: [UInt8], maximumDepth: Int = Self.maximumDepth) throws(LimitsFileError) {
        guard bytes.count <= Self.maximumBytes else {
            throw LimitsFileError(line: nil, "the file is longer than \(Self.maximumBytes / 1024) KiB")
        }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw LimitsFileError(line: Self.lineOfBadText(bytes), "this is not UTF-8 text")
        }
        let result = withoutByteOrderMark(bytes).withUnsafeBytes { bytes in
            Result { () throws(LimitsFileError) in try Self.root(bytes, maximumDepth) }
        }
        self = try result.get()
    }

    private static func root(
        _ bytes: UnsafeRawBufferPointer, _ maximumDepth: Int
    ) throws(LimitsFileError) -> FileNode {
        guard JSONReader.isLikely(bytes) else { return try EventParser(bytes, maximumDepth: maximumDepth).root() }
        do throws(LimitsFileError) {
            var reader = JSONReader(bytes, maximumDepth: maximumDepth)
            return try reader.root()
        } catch {
            // Braces with comments, commas at the end or texts without quotes are YAML.
            if let root = try? EventParser(bytes, maximumDepth: maximumDepth).root() { return root }
            throw error
        }
    }

    init(line: Int, content: Content, isQuoted: Bool = false) {
        self.line = line
        self.content = content
        self.isQuoted = isQuoted
    }

    private static func lineOfBadText(_ bytes: [UInt8]) -> Int {
        // Repairing puts U+FFFD, EF BF BD, where the first bad byte was.
        let repaired = Array(String(decoding: bytes, as: UTF8.self).utf8)
        let same = zip(bytes, repaired).prefix { $0 == $1 }.count
        return 1 + bytes[..<same].count(where: { $0 == UInt8(ascii: "\n") })
    }
}
