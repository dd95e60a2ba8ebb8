import HTTPPosts

extension ValueSyntax where Value == PostURL {
    static var collectorURL: Self {
        Self(
            placeholder: "url",
            accepted: "URLs with http:// or https://, without a query, such as http://127.0.0.1:4318",
            parse: { text throws(ValueRejection) in
                try checkBlanks(text)
                guard !text.contains("?") else { throw ValueRejection("it has a query") }
                do throws(PostURLError) {
                    return try PostURL(text)
                } catch {
                    throw ValueRejection("\(error)")
                }
            },
            render: \.text)
    }
}

extension ValueSyntax where Value == OTLPTransport {
    static var transport: Self {
        Self(
            placeholder: "http/protobuf", accepted: "http/protobuf alone",
            parse: { text throws(ValueRejection) in
                guard let transport = OTLPTransport(rawValue: text) else {
                    throw ValueRejection(
                        ["grpc", "http/json"].contains(text) ? "OTLP over \(text) is not spoken" : nil)
                }
                return transport
            },
            render: \.rawValue)
    }
}

extension ValueSyntax where Value == [PostHeader] {
    static var postHeaders: Self {
        Self(
            placeholder: "name=value,…", accepted: "up to \(AttributeList.maximumCount) headers such as api-key=k",
            parse: { text throws(ValueRejection) in
                var headers: [PostHeader] = []
                for pair in try AttributeList(text).pairs {
                    do throws(PostHeaderError) {
                        headers.append(try PostHeader(name: pair.name, value: pair.value))
                    } catch {
                        throw ValueRejection("\(error)")
                    }
                }
                return headers
            },
            render: { $0.map { "\($0.name)=***" }.joined(separator: ",") })
    }

    /// A text of headers with their values masked.
    static func masked(_ text: String) -> String {
        text.split(separator: ",", omittingEmptySubsequences: false)
            .map { $0.contains("=") ? "\($0.prefix { $0 != "=" })=***" : "***" }.joined(separator: ",")
    }
}

extension ValueSyntax where Value == AttributeList {
    static var attributes: Self {
        Self(
            placeholder: "name=value,…",
            accepted: "up to \(AttributeList.maximumCount) attributes such as deployment.environment.name=production",
            parse: { text throws(ValueRejection) in try AttributeList(text) }, render: \.description)
    }
}

extension ValueSyntax where Value == String {
    static var serviceName: Self {
        Self(
            placeholder: "name", accepted: "names of 1 to 255 bytes",
            parse: { text throws(ValueRejection) in
                try checkBlanks(text)
                guard (1...255).contains(text.utf8.count) else { throw ValueRejection() }
                return text
            },
            render: { $0 })
    }
}

extension ValueSyntax where Value == SamplerName {
    static var sampler: Self {
        let names = ValueSyntax<SamplerName>.oneOf
        return Self(placeholder: "sampler", accepted: names.accepted, parse: names.parse, render: names.render)
    }
}

extension ValueSyntax where Value == Int {
    /// A share of 1 with at most six places behind the point, in millionths.
    static var share: Self {
        Self(
            placeholder: "share", accepted: "shares from 0 to 1 with at most six places, such as 0.01",
            parse: { text throws(ValueRejection) in
                let parts = text.split(separator: ".", omittingEmptySubsequences: false)
                guard (1...2).contains(parts.count), let whole = decimalNumber(parts[0], in: 0...1) else {
                    throw ValueRejection()
                }
                guard parts.count == 2 else { return whole * 1_000_000 }
                let places = parts[1]
                guard (1...6).contains(places.utf8.count),
                    let part = decimalNumber(
                        places + String(repeating: "0", count: 6 - places.utf8.count), in: 0...999_999),
                    whole == 0 || part == 0
                else { throw ValueRejection() }
                return whole * 1_000_000 + part
            },
            render: { millionths in
                guard millionths < 1_000_000 else { return "1" }
                var places = String(1_000_000 + millionths).dropFirst()
                while places.last == "0" { places.removeLast() }
                return places.isEmpty ? "0" : "0.\(places)"
            })
    }
}
