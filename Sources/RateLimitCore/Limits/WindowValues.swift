/// The values by which a window is one of many under its limit, as a key has them: `model=gpt-4o,label:session=4711`.
///
/// Pairs stand in the order of ``CallValue/isOrdered(_:before:)``. In names and values bytes of `A-Z a-z 0-9 . _ @ + / -`
/// stand for themselves, each other one is `%` and two digits in upper case. What is longer than ``longestText`` then is
/// `~` and the SHA-256 of its bytes. So no two tuples are written alike, and nothing of a value ends a pair, a hash tag or
/// a key.
public struct WindowValues: Hashable, Sendable {
    /// How many bytes a name or a value has at most where it stands as it is.
    public static let longestText = 64
    /// The most bytes of ``text``: of each pair the name, an equals sign and the value, and a comma between two.
    public static let longest = CallValue.maximumCount * (6 + 65 + 1 + 65 + 1) - 1

    /// The pairs, in ASCII.
    public let text: String

    /// The values that a call says; nil where it lacks one of them.
    ///
    /// - Parameters:
    ///   - values: what is looked at, in the order of ``CallValue/isOrdered(_:before:)``.
    ///   - group: whose window it is where ``CallValue/group`` is among the values.
    public init?(_ values: [CallValue], of call: CallAttributes, group: SubjectID?) {
        var bytes: [UInt8] = []
        for value in values {
            Self.appendName(of: value, to: &bytes)
            bytes.append(UInt8(ascii: "="))
            if value == .group {
                guard let group else { return nil }
                group.withText { SubjectID.append($0, asValueTo: &bytes) }
            } else {
                guard var text = call.value(of: value) else { return nil }
                text.withUTF8 { SubjectID.append(UnsafeRawBufferPointer($0), asValueTo: &bytes) }
            }
        }
        text = String(decoding: bytes, as: UTF8.self)
    }

    /// What keys call the windows of such values together: `model,label:session`.
    public static func names(of values: [CallValue]) -> String {
        var bytes: [UInt8] = []
        for value in values { appendName(of: value, to: &bytes) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func appendName(of value: CallValue, to bytes: inout [UInt8]) {
        if !bytes.isEmpty { bytes.append(UInt8(ascii: ",")) }
        switch value {
        case .group, .model, .provider: bytes += value.text.utf8
        case .label(var name):
            bytes += "label:".utf8
            name.withUTF8 { SubjectID.append(UnsafeRawBufferPointer($0), asValueTo: &bytes) }
        }
    }
}
