import CYAML

/// libyaml as a reader of events, from which the file's values are built one by one: bounded in depth and number while
/// it goes, and without anchors, by which a small file could stand for a huge one.
final class EventParser {
    private let bytes: UnsafeRawBufferPointer
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let maximumDepth: Int
    private var count = 0

    /// Makes a parser of bytes that outlive it.
    init(_ bytes: UnsafeRawBufferPointer, maximumDepth: Int) {
        self.bytes = bytes
        self.maximumDepth = maximumDepth
        parser = .allocate(capacity: 1)
        parser.initialize(to: yaml_parser_t())
        guard yaml_parser_initialize(parser) == 1 else { fatalError("cannot make a YAML parser: out of memory") }
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        yaml_parser_set_input_string(parser, start, bytes.count)
    }

    deinit {
        yaml_parser_delete(parser)
        parser.deinitialize(count: 1)
        parser.deallocate()
    }

    /// The value of the one document there is.
    func root() throws(LimitsFileError) -> FileNode {
        _ = try next()
        guard case .documentStart = try next().kind else { throw LimitsFileError(line: nil, "the file is empty") }
        let root = try node(try next(), depth: 1)
        _ = try next()
        let end = try next()
        guard case .end = end.kind else { throw LimitsFileError(line: end.line, "a second document begins here") }
        return root
    }

    private enum Kind {
        case documentStart
        case end
        case scalar(String, isPlain: Bool)
        case listStart
        case mapStart
        /// The end of a list, map or document.
        case close
    }

    private func next() throws(LimitsFileError) -> (kind: Kind, line: Int) {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else { throw problem() }
        defer { yaml_event_delete(&event) }
        let line = Int(event.start_mark.line) + 1
        switch event.type {
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            try refuse(anchor: scalar.anchor, tag: scalar.tag, line)
            let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            let isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            return (.scalar(String(decoding: bytes, as: UTF8.self), isPlain: isPlain), line)
        case YAML_SEQUENCE_START_EVENT:
            try refuse(anchor: event.data.sequence_start.anchor, tag: event.data.sequence_start.tag, line)
            return (.listStart, line)
        case YAML_MAPPING_START_EVENT:
            try refuse(anchor: event.data.mapping_start.anchor, tag: event.data.mapping_start.tag, line)
            return (.mapStart, line)
        case YAML_ALIAS_EVENT: throw .alias(line: line)
        case YAML_DOCUMENT_START_EVENT: return (.documentStart, line)
        case YAML_STREAM_END_EVENT: return (.end, line)
        default: return (.close, line)
        }
    }

    private func refuse(
        anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?, _ line: Int
    ) throws(LimitsFileError) {
        if anchor != nil { throw .alias(line: line) }
        if tag != nil {
            throw LimitsFileError(
                line: line, "tags (!name) are not read; put a text that begins with ! in quotes")
        }
    }

    private func node(_ event: (kind: Kind, line: Int), depth: Int) throws(LimitsFileError) -> FileNode {
        let line = event.line
        guard depth <= maximumDepth else { throw .tooDeep(line: line, maximumDepth) }
        count += 1
        guard count <= FileNode.maximumValues else { throw .tooManyValues(line: line) }
        switch event.kind {
        case .scalar(let text, let isPlain):
            let isNull = isPlain && ["~", "null", "Null", "NULL"].contains(text)
            let isNothing = isPlain && text.isEmpty
            return FileNode(
                line: line, content: isNull ? .null : isNothing ? .nothing : .text(text), isQuoted: !isPlain)
        case .listStart:
            var elements: [FileNode] = []
            while true {
                let element = try next()
                if case .close = element.kind { return FileNode(line: line, content: .list(elements)) }
                elements.append(try node(element, depth: depth + 1))
            }
        case .mapStart: return FileNode(line: line, content: .map(try entries(depth: depth)))
        case .documentStart, .end, .close: throw LimitsFileError(line: line, "the file is empty")
        }
    }

    private func entries(depth: Int) throws(LimitsFileError) -> [FileNode.Entry] {
        var entries: [FileNode.Entry] = []
        var keys: Set<String> = []
        while true {
            let key = try next()
            switch key.kind {
            case .close: return entries
            case .scalar(let text, _):
                guard keys.insert(text).inserted else { throw .sameKey(text, line: key.line) }
                let value = try node(try next(), depth: depth + 1)
                entries.append(FileNode.Entry(key: text, line: key.line, value: value))
            default: throw LimitsFileError(line: key.line, "a key is a list or a map", accepted: "texts")
            }
        }
    }

    /// What libyaml refused, in its words.
    private func problem() -> LimitsFileError {
        let words = parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read"
        var line = Int(parser.pointee.problem_mark.line) + 1
        if parser.pointee.error == YAML_READER_ERROR {
            // An error of the reader, such as a control character, says where by a number of bytes.
            line = 1 + bytes.prefix(parser.pointee.problem_offset).count { $0 == UInt8(ascii: "\n") }
        }
        return LimitsFileError(line: line, "this is neither YAML nor JSON: \(words)")
    }
}

extension LimitsFileError {
    static func tooDeep(line: Int, _ maximumDepth: Int) -> LimitsFileError {
        LimitsFileError(line: line, "more than \(maximumDepth) values stand in one another")
    }

    static func tooManyValues(line: Int) -> LimitsFileError {
        LimitsFileError(line: line, "the file holds more than \(FileNode.maximumValues) values")
    }

    static func sameKey(_ key: String, line: Int) -> LimitsFileError {
        LimitsFileError(line: line, "the key \(shown(key)) stands twice in one map")
    }

    static func alias(line: Int) -> LimitsFileError {
        LimitsFileError(
            line: line,
            "anchors (&name) and aliases (*name) are not read; write the value out, or put a text that "
                + "begins with & or * in quotes")
    }
}
