/// The parameters of a query as browsers and libraries write them (`application/x-www-form-urlencoded`): percent-encoding
/// resolved in names and values, and `+` for a blank.
///
/// A value that is encoded wrongly is nil here, and refused by the route that needs it.
struct QueryParameters: Sequence, IteratorProtocol {
    struct Parameter: Hashable {
        var name: String
        /// Nil where it is encoded wrongly, or no UTF-8.
        var value: String?
    }

    private var left: ArraySlice<UInt8>

    init(_ query: [UInt8]) { left = query[...] }

    /// The next parameter whose name can be read; no route needs another.
    mutating func next() -> Parameter? {
        while !left.isEmpty {
            let pair = left.prefix { $0 != UInt8(ascii: "&") }
            left = left[pair.endIndex...].dropFirst()
            let name = pair.prefix { $0 != UInt8(ascii: "=") }
            guard let text = Self.text(name) else { continue }
            return Parameter(name: text, value: Self.text(pair[name.endIndex...].dropFirst()))
        }
        return nil
    }

    private static func text(_ encoded: ArraySlice<UInt8>) -> String? {
        encoded.withUnsafeBytes { bytes in decoded(bytes) { String(validating: $0, as: UTF8.self) } ?? nil }
    }

    /// Gives `read` the bytes that encoded ones stand for, themselves where none are encoded; nil where a percent sign is
    /// not followed by two digits.
    ///
    /// - Parameter plusIsBlank: as in a query; in a path it stands for itself.
    static func decoded<Value>(
        _ encoded: UnsafeRawBufferPointer, plusIsBlank: Bool = true, _ read: (UnsafeRawBufferPointer) -> Value
    ) -> Value? {
        guard encoded.contains(where: { $0 == 0x25 || $0 == 0x2b }) else { return read(encoded) }
        var plain: [UInt8] = []
        var index = 0
        while index < encoded.count {
            switch encoded[index] {
            case 0x25:
                guard index + 2 < encoded.count, let high = hexadecimalDigit(encoded[index + 1]),
                    let low = hexadecimalDigit(encoded[index + 2])
                else { return nil }
                plain.append(high << 4 | low)
                index += 3
            case let byte:
                plain.append(byte == 0x2b && plusIsBlank ? 0x20 : byte)
                index += 1
            }
        }
        return plain.withUnsafeBytes { read($0) }
    }
}
