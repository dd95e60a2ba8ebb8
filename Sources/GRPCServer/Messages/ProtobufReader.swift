/// Takes a protobuf message apart, field by field, without a copy: it reads memory that somebody else keeps, never past its
/// end.
///
/// It knows no messages. Those of Envoy's are of a fixed depth, and what reads them calls no reader of its own kind: so a
/// message cannot nest deeper than its reader's code. What is not known is passed over; groups, which proto3 has not, are
/// refused.
struct ProtobufReader {
    /// The number of a field and how its value is written.
    enum Field: Hashable {
        case varint(Int)
        case fixed64(Int)
        /// Text, bytes, a message, or numbers one behind the other.
        case bytes(Int)
        case fixed32(Int)
    }

    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// What the next field is; nil at the end. Its value must be read, or passed over, before the next one.
    mutating func next() throws(ProtobufError) -> Field? {
        guard position < bytes.count else { return nil }
        let tag = try varint()
        guard let number = Int(exactly: tag >> 3), Self.numbers.contains(number) else { throw .invalidField }
        switch tag & 7 {
        case 0: return .varint(number)
        case 1: return .fixed64(number)
        case 2: return .bytes(number)
        case 5: return .fixed32(number)
        case 3, 4: throw .group
        default: throw .invalidField
        }
    }

    /// The numbers that fields have.
    private static let numbers = 1...536_870_911

    /// Reads a whole number of 64 bits, of at most 10 bytes.
    mutating func varint() throws(ProtobufError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            // Of the tenth byte one bit is left.
            guard shift < 63 || byte <= 1 else { throw .longNumber }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw .truncated
    }

    /// Reads a number of 32 bits: of a longer one its low bits, as every reader of protobuf does.
    mutating func uint32() throws(ProtobufError) -> UInt32 { UInt32(truncatingIfNeeded: try varint()) }

    /// Reads a truth value.
    mutating func boolean() throws(ProtobufError) -> Bool { try varint() != 0 }

    /// Reads the bytes behind a length.
    mutating func block() throws(ProtobufError) -> UnsafeRawBufferPointer {
        let length = try varint()
        guard length <= UInt64(bytes.count - position) else { throw .truncated }
        let end = position + Int(length)
        defer { position = end }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<end])
    }

    /// Reads a text.
    mutating func text() throws(ProtobufError) -> String {
        guard let text = String(validating: try block(), as: UTF8.self) else { throw .notUTF8 }
        return text
    }

    /// Reads the message in a field.
    mutating func message() throws(ProtobufError) -> ProtobufReader { ProtobufReader(try block()) }

    /// How often a field stands in what has not been read yet, as far as that can be read: room for its values.
    func count(of field: Field) -> Int {
        var reader = self
        var count = 0
        while let next = try? reader.next(), (try? reader.skip(next)) != nil { count += next == field ? 1 : 0 }
        return count
    }

    /// Passes the value of a field over.
    mutating func skip(_ field: Field) throws(ProtobufError) {
        switch field {
        case .varint: _ = try varint()
        case .fixed64: try skip(8)
        case .bytes: _ = try block()
        case .fixed32: try skip(4)
        }
    }

    private mutating func skip(_ count: Int) throws(ProtobufError) {
        guard bytes.count - position >= count else { throw .truncated }
        position += count
    }
}

/// Why bytes are no protobuf message.
enum ProtobufError: Error, Hashable, CaseIterable, CustomStringConvertible {
    case truncated
    case longNumber
    case invalidField
    case group
    case notUTF8

    /// What is wrong, as a part of a sentence.
    var description: String {
        switch self {
        case .truncated: "a field goes on behind the end of its message"
        case .longNumber: "a number has more than 64 bits"
        case .invalidField: "a field has no number, or a type that there is not"
        case .group: "it has a group, which proto3 has not"
        case .notUTF8: "a text is no UTF-8"
        }
    }
}

extension GRPCError {
    /// A message cannot be read: the code that gRPC's own libraries answer then.
    static func malformed(_ message: String, _ error: ProtobufError) -> GRPCError {
        GRPCError(code: .internalError, message: "cannot read \(message): \(error)")
    }
}
