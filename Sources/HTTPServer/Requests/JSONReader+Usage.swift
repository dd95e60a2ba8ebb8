import RateLimitCore

/// The usage objects that providers return.
extension JSONReader {
    /// Reads a provider's usage object.
    ///
    /// - Parameter unusable: the first count in it that is none.
    mutating func providerUsage(unusable: inout String?) throws(RequestError) -> ProviderUsage {
        var usage = ProviderUsage()
        try object { (text, name) throws(RequestError) in
            let isObject = text.position < text.bytes.count && text.bytes[text.position] == 0x7b
            guard isObject, let container = text.container(name) else {
                return try text.count(name, in: nil, of: &usage, unusable: &unusable, depth: 2)
            }
            try text.object { (text, inner) throws(RequestError) in
                try text.count(inner, in: (container, name), of: &usage, unusable: &unusable, depth: 3)
            }
        }
        return usage
    }

    private func container(_ name: Range<Int>) -> ProviderUsage.Container? {
        let bytes = UnsafeRawBufferPointer(rebasing: bytes[name])
        guard !bytes.containsEscape else { return resolved(name) { ProviderUsage.Container($0) } }
        return ProviderUsage.Container(bytes)
    }

    /// Reads a member of a usage object, or of a container in one.
    private mutating func count(
        _ name: Range<Int>, in place: (container: ProviderUsage.Container, name: Range<Int>)?,
        of usage: inout ProviderUsage, unusable: inout String?, depth: Int
    ) throws(RequestError) {
        let text = UnsafeRawBufferPointer(rebasing: bytes[name])
        let count =
            text.containsEscape
            ? resolved(name) { ProviderUsage.Count($0, in: place?.container) }
            : ProviderUsage.Count(text, in: place?.container)
        guard let count else { return try skipValue(depth: depth) }
        if isNull() { return }
        if let number = try wholeNumber(), TokenUsage.counts.contains(number) {
            usage[count] = number
        } else if unusable == nil {
            unusable = [place?.name, name].compactMap { $0.flatMap(unescaped) }.joined(separator: ".")
        }
    }
}
