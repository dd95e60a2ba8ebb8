/// A file of protobuf definitions in its compiled form, `google.protobuf.FileDescriptorProto`, by which tools call methods
/// without having the file.
struct DescribedFile {
    let bytes: [UInt8]
    private(set) var name = ""
    /// The names of the files that it imports.
    private(set) var imports: [String] = []
    /// The full names of all that it defines: messages, their nested ones, enumerations, services and methods.
    private(set) var symbols: [String] = []

    init(_ bytes: [UInt8]) throws(ProtobufError) {
        self.bytes = bytes
        var package = ""
        var names: [String] = []
        for (field, value) in try Self.fields(bytes) {
            switch field {
            case 1: name = try Self.text(value)
            case 2: package = try Self.text(value)
            case 3: imports.append(try Self.text(value))
            // Messages have messages in field 3 and enumerations in field 4, services have methods in field 2.
            case 4: names += try Self.names(value, within: [3, 4])
            case 5: names += try Self.names(value, within: [])
            case 6: names += try Self.names(value, within: [2])
            default: break
            }
        }
        symbols = names.map { package.isEmpty ? $0 : "\(package).\($0)" }
    }

    /// The files of a `google.protobuf.FileDescriptorSet`.
    static func files(of set: [UInt8]) throws(ProtobufError) -> [DescribedFile] {
        var files: [DescribedFile] = []
        for (field, value) in try fields(set) where field == 1 { files.append(try DescribedFile(value)) }
        return files
    }

    /// The name of a definition, and those of the definitions in it.
    private static func names(_ definition: [UInt8], within inner: Set<Int>) throws(ProtobufError) -> [String] {
        let fields = try fields(definition)
        let own = try text(fields.first { $0.0 == 1 }?.1 ?? [])
        var names = [own]
        for (field, value) in fields where inner.contains(field) {
            names += try Self.names(value, within: field == 3 ? inner : []).map { "\(own).\($0)" }
        }
        return names
    }

    private static func text(_ bytes: [UInt8]) throws(ProtobufError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .notUTF8 }
        return text
    }

    /// The fields of a message that are texts or messages.
    private static func fields(_ message: [UInt8]) throws(ProtobufError) -> [(Int, [UInt8])] {
        let result = message.withUnsafeBytes { bytes in
            Result { () throws(ProtobufError) in
                var reader = ProtobufReader(bytes)
                var fields: [(Int, [UInt8])] = []
                while let field = try reader.next() {
                    if case .bytes(let number) = field {
                        fields.append((number, Array(try reader.block())))
                    } else {
                        try reader.skip(field)
                    }
                }
                return fields
            }
        }
        return try result.get()
    }
}
