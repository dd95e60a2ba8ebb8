import Foundation
import NIOHTTP1
import Testing

@testable import HTTPServer

@Suite("The OpenAPI document")
struct OpenAPIDocumentTests {
    private let text = OpenAPIDocument.json(of: .served, version: "1.2.3")

    private func document() throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    private func paths() throws -> [String: [String: Any]] {
        try #require(try document()["paths"] as? [String: [String: Any]])
    }

    /// The templates of a pattern's paths.
    private func templates(_ pattern: RoutePattern) -> [String] {
        let text = pattern.description.replacing("<", with: "{").replacing(">", with: "}")
        guard text.hasSuffix("/*") else { return [text] }
        let base = String(text.dropLast(2))
        return [base, "\(base)/{path}", "\(base)/deny-403"]
    }

    @Test("has every route of the table with its methods and its audience, and nothing else")
    func routes() throws {
        var paths = try paths()
        for path in RouteTable.served.paths {
            for template in templates(path.pattern) {
                let found = paths.removeValue(forKey: template)
                var item = try #require(found, "\(template)")
                for route in path.routes {
                    let methods: [HTTPMethod] =
                        if case .listed(let methods) = route.methods { methods } else { [.GET, .POST] }
                    for method in methods {
                        let value = item.removeValue(forKey: method.rawValue.lowercased()) as? [String: Any]
                        let operation = try #require(value, "\(method) \(template)")
                        #expect(operation["tags"] as? [String] == [route.audience == .admin ? "admin" : "everyone"])
                        #expect(operation["summary"] as? String == route.summary)
                    }
                }
                let names = path.pattern.segments.filter { if case .parameter = $0 { true } else { false } }.count
                let parameters = item.removeValue(forKey: "parameters") as? [Any] ?? []
                #expect(parameters.count == names + (template.hasSuffix("{path}") ? 1 : 0), "\(template)")
                #expect(item.isEmpty, "\(template): \(item.keys)")
            }
        }
        #expect(paths.isEmpty, "\(paths.keys)")
    }

    @Test("names each operation once, and refers to nothing that it does not have, nor has what nobody refers to")
    func references() throws {
        var identifiers = matches("\"operationId\":\"([^\"]+)\"")
        // A reservation leads to these, by their names.
        for follower in ["postRenew", "postSettle", "postRelease"] {
            #expect(identifiers.filter { $0 == follower }.count == 2)
            identifiers.removeAll { $0 == follower }
        }
        #expect(Set(identifiers).count == identifiers.count && identifiers.count > 45)
        let components = try #require(try document()["components"] as? [String: [String: Any]])
        let known = Set(components.flatMap { kind, members in members.keys.map { "#/components/\(kind)/\($0)" } })
        #expect(Set(matches("\"\\$ref\":\"([^\"]+)\"")) == known)
    }

    @Test("answers nothing with a body to HEAD, and asks for a user where only the query can name one")
    func methods() throws {
        let paths = try paths()
        for (path, item) in paths {
            guard let head = item["head"] as? [String: Any] else { continue }
            let answers = try #require(head["responses"] as? [String: [String: Any]])
            #expect(answers["200"] != nil && answers["200"]?["content"] == nil, "\(path)")
        }
        let check = try #require(paths["/v1/check"])
        for (method, isRequired) in [("get", true), ("post", false)] {
            let operation = try #require(check[method] as? [String: Any])
            let parameters = try #require(operation["parameters"] as? [[String: Any]])
            let user = try #require(parameters.first { $0["name"] as? String == "user" })
            #expect(user["required"] as? Bool == isRequired)
            #expect((operation["requestBody"] == nil) == isRequired)
        }
    }

    @Test("has the daemon's version, and is below 128 KiB")
    func bounds() throws {
        #expect((try document()["info"] as? [String: Any])?["version"] as? String == "1.2.3")
        #expect(text.utf8.count < 131_072)
    }

    private func matches(_ pattern: String) -> [String] {
        let expression = try? NSRegularExpression(pattern: pattern)
        let range = NSRange(text.startIndex..., in: text)
        return expression?.matches(in: text, range: range).map { match in
            Range(match.range(at: 1), in: text).map { String(text[$0]) } ?? ""
        } ?? []
    }
}
