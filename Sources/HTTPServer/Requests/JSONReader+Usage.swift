import RateLimitCore

/// The usage objects that providers return.
extension JSONReader {
    /// Reads a provider's usage object.
    ///
    /// - Parameter unusable: the first count in it that is none.
    mutating func providerUsage(unusable: inout String?) throws(RequestError) -> ProviderUsage {
        var usage = ProviderUsage()
        try object { (text, name) throws(RequestError) in
            let first = text.position < text.bytes.count ? text.bytes[text.position] : 0
            if first == 0x5b, let list = text.modalityList(name) {
                return try text.modalities(of: list, name, to: &usage, unusable: &unusable)
            }
            let isObject = first == 0x7b
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

    private func modalityList(_ name: Range<Int>) -> ProviderUsage.ModalityList? {
        let bytes = UnsafeRawBufferPointer(rebasing: bytes[name])
        guard !bytes.containsEscape else { return resolved(name) { ProviderUsage.ModalityList($0) } }
        return ProviderUsage.ModalityList(bytes)
    }

    /// Reads how many tokens were of which modality: `[{"modality":"AUDIO","tokenCount":5}, …]`.
    private mutating func modalities(
        of list: ProviderUsage.ModalityList, _ name: Range<Int>, to usage: inout ProviderUsage,
        unusable: inout String?
    ) throws(RequestError) {
        try array { (text) throws(RequestError) in
            guard text.position < text.bytes.count, text.bytes[text.position] == 0x7b else {
                return try text.skipValue(depth: 3)
            }
            var count: ProviderUsage.Count?
            var number: Int?
            try text.object { (text, inner) throws(RequestError) in
                if text.isName(inner, "modality"), text.position < text.bytes.count, text.bytes[text.position] == 0x22 {
                    let modality = try text.string()
                    count = text.resolved(modality) { list.count(ofModality: $0) }
                } else if text.isName(inner, "tokenCount") || text.isName(inner, "token_count") {
                    if text.isNull() { return }
                    number = try text.wholeNumber().flatMap { TokenUsage.counts.contains($0) ? $0 : nil }
                    if number == nil, unusable == nil { unusable = text.unescaped(name) }
                } else {
                    try text.skipValue(depth: 4)
                }
            }
            guard let count, let number else { return }
            usage[count] = min((usage[count] ?? 0) + number, TokenUsage.counts.upperBound)
        }
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
