/// Reads the file's values from JSON (RFC 8259), strictly and with their lines: bounded in depth and number while it goes.
///
/// libyaml reads most JSON, but neither surrogate pairs nor a line break before a colon.
struct JSONReader {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var line = 1
    private var count = 0
    private let maximumDepth: Int

    /// Makes a reader of bytes that outlive it.
    init(_ bytes: UnsafeRawBufferPointer, maximumDepth: Int) {
        self.bytes = bytes
        self.maximumDepth = maximumDepth
    }

    /// Whether a text begins as an object of JSON's does. A map of YAML's in braces may begin so too, and is then no JSON
    /// further on.
    static func isLikely(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = JSONReader(bytes, maximumDepth: 0)
        reader.skipSpace()
        guard reader.skip(UInt8(ascii: "{")) else { return false }
        reader.skipSpace()
        return reader.next == UInt8(ascii: "\"") || reader.next == UInt8(ascii: "}")
    }

    /// The one value there is.
    mutating func root() throws(LimitsFileError) -> FileNode {
        skipSpace()
        let root = try node(depth: 1)
        skipSpace()
        guard position == bytes.count else { throw expected("nothing more") }
        return root
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func node(depth: Int) throws(LimitsFileError) -> FileNode {
        let line = line
        guard depth <= maximumDepth else { throw .tooDeep(line: line, maximumDepth) }
        count += 1
        guard count <= FileNode.maximumValues else { throw .tooManyValues(line: line) }
        switch next ?? 0 {
        case UInt8(ascii: "{"): return FileNode(line: line, content: .map(try entries(depth: depth)))
        case UInt8(ascii: "["): return FileNode(line: line, content: .list(try elements(depth: depth)))
        case UInt8(ascii: "\""): return FileNode(line: line, content: .text(try string()), isQuoted: true)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            return FileNode(line: line, content: .text(try number()))
        default:
            for word in ["true", "false"] where skip(word) { return FileNode(line: line, content: .text(word)) }
            guard skip("null") else { throw expected("a value") }
            return FileNode(line: line, content: .null)
        }
    }

    private mutating func entries(depth: Int) throws(LimitsFileError) -> [FileNode.Entry] {
        var entries: [FileNode.Entry] = []
        var keys: Set<String> = []
        position += 1
        skipSpace()
        if skip(UInt8(ascii: "}")) { return entries }
        repeat {
            skipSpace()
            let line = line
            guard next == UInt8(ascii: "\"") else { throw expected("a key in quotes") }
            let key = try string()
            guard keys.insert(key).inserted else { throw .sameKey(key, line: line) }
            skipSpace()
            guard skip(UInt8(ascii: ":")) else { throw expected("a colon") }
            skipSpace()
            entries.append(FileNode.Entry(key: key, line: line, value: try node(depth: depth + 1)))
            skipSpace()
        } while skip(UInt8(ascii: ","))
        guard skip(UInt8(ascii: "}")) else { throw expected("a comma or a closing brace") }
        return entries
    }

    private mutating func elements(depth: Int) throws(LimitsFileError) -> [FileNode] {
        var elements: [FileNode] = []
        position += 1
        skipSpace()
        if skip(UInt8(ascii: "]")) { return elements }
        repeat {
            skipSpace()
            elements.append(try node(depth: depth + 1))
            skipSpace()
        } while skip(UInt8(ascii: ","))
        guard skip(UInt8(ascii: "]")) else { throw expected("a comma or a closing bracket") }
        return elements
    }

    /// A number as it is written; what it may be says who reads it.
    private mutating func number() throws(LimitsFileError) -> String {
        let start = position
        _ = skip(UInt8(ascii: "-"))
        if !skip(UInt8(ascii: "0")) { try digits() }
        if skip(UInt8(ascii: ".")) { try digits() }
        if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
            if !skip(UInt8(ascii: "-")) { _ = skip(UInt8(ascii: "+")) }
            try digits()
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private mutating func digits() throws(LimitsFileError) {
        let start = position
        while let byte = next, (0x30...0x39).contains(byte) { position += 1 }
        guard position > start else { throw expected("a digit") }
    }

    private mutating func string() throws(LimitsFileError) -> String {
        position += 1
        var text: [UInt8] = []
        while let byte = next, byte >= 0x20 {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): try escape(into: &text)
            default: text.append(byte)
            }
        }
        throw expected("a text that ends on its line")
    }

    private mutating func escape(into text: inout [UInt8]) throws(LimitsFileError) {
        let byte = next
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte ?? 0)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"): text += Array(String(try scalar()).utf8)
        default: throw expected("an escape of JSON's")
        }
    }

    /// The character of four digits, or of twice four where they are a surrogate pair.
    private mutating func scalar() throws(LimitsFileError) -> UnicodeScalar {
        let first = try unit()
        if let scalar = UnicodeScalar(first) { return scalar }
        guard first < 0xdc00, skip("\\u") else { throw expected("the second half of a surrogate pair") }
        let second = try unit()
        guard (0xdc00...0xdfff).contains(second),
            let scalar = UnicodeScalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else { throw expected("the second half of a surrogate pair") }
        return scalar
    }

    private mutating func unit() throws(LimitsFileError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                throw expected("four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0a, 0x0d].contains(byte) {
            position += 1
            // A carriage return before a line feed is of the same end of line.
            if byte == 0x0a || byte == 0x0d && next != 0x0a { line += 1 }
        }
    }

    private mutating func skip(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func skip(_ word: String) -> Bool {
        guard bytes[position...].starts(with: word.utf8) else { return false }
        position += word.utf8.count
        return true
    }

    private func expected(_ what: String) -> LimitsFileError {
        LimitsFileError(line: line, "this is no JSON: here should be \(what)")
    }
}
