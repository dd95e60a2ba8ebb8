import NIOHTTP1
import RateLimitService

/// The description of a table of routes as OpenAPI 3.1, for whoever makes a client of it or tries it out.
enum OpenAPIDocument {
    /// The whole document.
    ///
    /// - Parameter version: the daemon's.
    static func json(of table: RouteTable, version: String) -> String {
        let document: JSONValue = [
            "openapi": "3.1.0",
            "info": [
                "title": "llm-rate-limit", "version": .string(version),
                "summary": "Decides whether a call of a model may go on.",
            ],
            "servers": [
                ["url": "http://localhost", "description": "The daemon's Unix socket, or its TCP listener."]
            ],
            "tags": .array(
                [RateLimitServer.Audience.everyone, .admin].map { audience in
                    ["name": .string(audience.tag), "description": .string(audience.summary)]
                }),
            "paths": .object(table.paths.flatMap(paths)),
            "components": [
                "schemas": .object(schemas(of: table)),
                "responses": .object(
                    RouteContract.anywhere.map { member($0.status.componentName, $0.response(hasBody: true)) }),
                "headers": .object(
                    AnswerHeader.allCases.map { header in
                        member(
                            header.rawValue, ["description": .string(header.summary), "schema": header.schema])
                    }),
            ],
        ]
        return document.text
    }

    private static func member(_ name: String, _ value: JSONValue) -> JSONValue.Member {
        JSONValue.Member(name: name, value: value)
    }

    // MARK: - Paths

    /// The paths of a pattern, by their templates. Of one that ends in `*` the document can name the path itself, one
    /// segment below it, and those segments that are options.
    private static func paths(_ path: RouteTable.Path) -> [JSONValue.Member] {
        let template = "/" + path.pattern.segments.dropFirst().map(\.template).joined(separator: "/")
        var parameters = path.pattern.segments.compactMap { segment -> JSONValue? in
            guard case .parameter(let name) = segment else { return nil }
            return pathParameter(name, "A \(name): a slash in it is %2F.", .subject)
        }
        var members = [member(template, item(path, parameters))]
        guard path.pattern.matchesBelow else { return members }
        parameters.append(pathParameter("path", "The client's own path, of which nothing is read.", .string()))
        members.append(member("\(template)/{path}", item(path, parameters, below: "path")))
        for option in Set(path.routes.flatMap(\.contract.options.keys)).sorted() {
            members.append(member("\(template)/\(option)", item(path, [], below: option)))
        }
        return members
    }

    private static func pathParameter(_ name: String, _ summary: String, _ schema: JSONValue) -> JSONValue {
        [
            "name": .string(name), "in": "path", "required": true, "description": .string(summary), "schema": schema,
        ]
    }

    private static func item(_ path: RouteTable.Path, _ parameters: [JSONValue], below: String? = nil) -> JSONValue {
        let operations = path.routes.flatMap { route in
            route.methods.described.map { method in
                member(method.rawValue.lowercased(), operation(method, route, below: below))
            }
        }
        return .object((parameters.isEmpty ? [] : [member("parameters", .array(parameters))]) + operations)
    }

    // MARK: - Operations

    private static func operation(_ method: HTTPMethod, _ route: Route, below: String?) -> JSONValue {
        let contract = route.contract
        var members = [
            member("operationId", .string(identifier(method, route.pattern, below: below))),
            member("summary", .string(route.summary)),
            member("tags", [.string(route.audience.tag)]),
        ]
        if case .any = route.methods {
            members.append(member("description", "Any other method is answered likewise."))
        }
        let body = [.POST, .PUT].contains(method) ? contract.body : nil
        // Who calls stands in the query where nothing else can say it.
        let parameters =
            contract.query.map { $0.parameter(in: "query", isRequired: body == nil && $0.name == "user") }
            + contract.headers.map { $0.parameter(in: "header", isRequired: false) }
        if !parameters.isEmpty { members.append(member("parameters", .array(parameters))) }
        if let body {
            // Where the query can say all of it, the body may be left out.
            let isRequired = !contract.query.contains { $0.name == "user" }
            let example = body.example.map { [member("example", $0)] } ?? []
            let content = JSONValue.object([member("schema", body.reference)] + example)
            members.append(
                member(
                    "requestBody",
                    ["required": .boolean(isRequired), "content": ["application/json": content]]))
        }
        let own = below.flatMap { contract.options[$0] } ?? contract.answers
        let others = RouteContract.anywhere.map(\.status).filter { status in !own.contains { $0.status == status } }
        let answers =
            own.map { ($0.status, $0.response(hasBody: method != .HEAD)) }
            + others.map { ($0, ["$ref": "#/components/responses/\($0.componentName)"]) }
        let responses = answers.sorted { $0.0.rawValue < $1.0.rawValue }
        members.append(member("responses", .object(responses.map { member("\($0.rawValue)", $1) })))
        return .object(members)
    }

    /// A name that no other operation has: the method and the words of the path, as `putUsersUserBudget`.
    fileprivate static func identifier(
        _ method: HTTPMethod, _ pattern: RoutePattern, below: String? = nil
    ) -> String {
        let words = (pattern.segments.map(\.word) + [below ?? ""]).flatMap { segment in
            segment.split { !$0.isLetter && !$0.isNumber }.map { $0.prefix(1).uppercased() + $0.dropFirst() }
        }
        return method.rawValue.lowercased() + words.filter { $0 != "V1" }.joined()
    }

    // MARK: - Schemas

    /// Every schema of the table's bodies, and those that they refer to, each once.
    private static func schemas(of table: RouteTable) -> [JSONValue.Member] {
        let contracts = table.paths.flatMap(\.routes).map(\.contract)
        let answers =
            RouteContract.anywhere
            + contracts.flatMap { $0.answers + $0.options.sorted { $0.key < $1.key }.flatMap(\.value) }
        let bodies = contracts.compactMap(\.body) + answers.flatMap(\.content).map(\.schema) + [.standing]
        var members: [JSONValue.Member] = []
        for body in bodies where !members.contains(where: { $0.name == body.name }) {
            members.append(member(body.name, body.schema))
        }
        return members
    }
}

extension RoutePattern.Segment {
    fileprivate var word: String {
        switch self {
        case .literal(let text), .parameter(let text): text
        }
    }

    fileprivate var template: String {
        switch self {
        case .literal(let text): text
        case .parameter(let name): "{\(name)}"
        }
    }
}

extension Route.Methods {
    /// Those that the document names: of any method, the two that everybody uses.
    fileprivate var described: [HTTPMethod] {
        switch self {
        case .any: [.GET, .POST]
        case .listed(let methods): methods
        }
    }
}

extension RateLimitServer.Audience {
    fileprivate var tag: String {
        switch self {
        case .everyone: "everyone"
        case .admin: "admin"
        }
    }

    fileprivate var summary: String {
        switch self {
        case .everyone: "Answered on every socket."
        case .admin: "Answered on the admin socket alone, and 403 elsewhere."
        }
    }
}

extension QueryField {
    fileprivate func parameter(in place: String, isRequired: Bool) -> JSONValue {
        [
            "name": .string(name), "in": .string(place), "required": .boolean(isRequired),
            "description": .string(summary),
            "schema": schema,
        ]
    }
}

extension HTTPStatus {
    /// What the answer of this status is called that any route may give.
    fileprivate var componentName: String { phrase.filter { $0 != " " } }
}

extension RouteAnswer {
    /// - Parameter hasBody: whether the method lets an answer have one.
    fileprivate func response(hasBody: Bool) -> JSONValue {
        var members = [JSONValue.Member(name: "description", value: .string(summary))]
        if !headers.isEmpty {
            let references = headers.map { header in
                JSONValue.Member(
                    name: header.rawValue, value: ["$ref": "#/components/headers/\(header.rawValue)"])
            }
            members.append(JSONValue.Member(name: "headers", value: .object(references)))
        }
        if hasBody, !content.isEmpty {
            let types = content.map { type, schema in
                JSONValue.Member(name: type, value: ["schema": schema.reference])
            }
            members.append(JSONValue.Member(name: "content", value: .object(types)))
        }
        if !followers.isEmpty {
            let links = followers.map { route in
                JSONValue.Member(
                    name: "\(route.name)",
                    value: [
                        "operationId": .string(OpenAPIDocument.identifier(.POST, "/v1/\(route.name)")),
                        "requestBody": ["lease": "$response.body#/lease"],
                    ])
            }
            members.append(JSONValue.Member(name: "links", value: .object(links)))
        }
        return .object(members)
    }
}
