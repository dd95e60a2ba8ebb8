import Foundation
import TestSupport
import Testing

/// `/v1/openapi.json`, held against the daemon that serves it by schemathesis.
@Suite("The description of the routes", .serialized, .needs("schemathesis"))
struct DescriptionTests {
    private let redis: RedisServer
    private let folder: TemporaryFolder
    private let interpreter: String

    init() throws {
        redis = try RedisServer()
        folder = try TemporaryFolder()
        interpreter = try PythonEnvironment.interpreter(of: "schemathesis")
    }

    private static let limits = """
        limits:
          - {name: tokens, per: user, unit: tokens, quota: 1000000000000, window: 1h, warn_at: [0.01]}
          - {name: team, per: group, unit: requests, quota: 1000000, window: {calendar: day}}
          - {name: trial, per: user, unit: spend, quota: 1, window: 1h, mode: shadow}
        prices:
          unknown_model: free
          models: {gpt-4o: {input: 2500000, output: 10000000}}
        """

    /// The document as a daemon serves it.
    private func document(_ daemon: Daemon) throws -> [String: Any] {
        let response = try daemon.connect().request("GET", "/v1/openapi.json")
        #expect(response.status == 200 && response["Content-Type"] == "application/json")
        return try response.json
    }

    @Test("Is OpenAPI 3.1")
    func isValid() throws {
        let document = try document(try Daemon(redis: redis.url))
        let path = try write(document)
        let validator = (interpreter as NSString).deletingLastPathComponent + "/openapi-spec-validator"
        #expect(try PythonEnvironment.run(validator, ["--schema", "3.1", path]).contains("OK"))
    }

    @Test(
        "Names every status, type and member that a daemon answers with, whatever is sent to it",
        arguments: ["none", "file"])
    func holds(limits: String) throws {
        var settings = ["REQUESTS": "10", "HEADERS": "both"]
        if limits == "file" {
            settings["LIMITS_FILE"] = try folder.write(Self.limits, to: "limits.yaml")
            settings["GROUPS"] = "given"
            // So many that some users have leases left to renew and settle.
            settings["REQUESTS"] = "200"
        }
        let daemon = try Daemon(redis: redis.url, settings)
        let document = try document(daemon)
        let operations = Self.operations(of: document)
        // A member of which the description says nothing is one too many.
        let path = try write(Self.closed(document))
        try folder.write(readFile(UnpackedGateway.helper("unix_socket.py")), to: "unix_socket.py")
        let program = (interpreter as NSString).deletingLastPathComponent + "/schemathesis"
        let checks = [
            "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
            "response_headers_conformance",
        ]
        let output = try PythonEnvironment.run(
            "env",
            [
                "-C", folder.path, program, "run", path, "--url", "http://unix.localhost", "-H", "X-User-Id: ada",
                "--max-examples", "25", "--seed", "1", "--checks", checks.joined(separator: ","),
                "--continue-on-failure", "--request-timeout", "20", "--warnings", "off", "--no-color",
                "--generation-database", "none", "--report", "ndjson", "--report-ndjson-path", folder.file("report"),
            ],
            variables: [
                "UNIX_SOCKET": daemon.adminSocketPath, "SCHEMATHESIS_HOOKS": "unix_socket", "PYTHONPATH": folder.path,
                "HOME": folder.path,
            ],
            seconds: 300)
        #expect(operations > 50 && output.contains("Tested: \(operations)\n"), "\(output)")
        #expect(output.contains("No issues found"), "\(output)")
        // What is held against the description has been seen: also what is answered where everything is right.
        let seen = try Self.answers(in: folder.file("report"))
        let wanted =
            limits == "none"
            ? [
                "POST /v1/check 200", "POST /v1/check 429", "POST /v1/check 400", "any /v1/auth/* 200",
                "any /v1/auth/* 429", "GET /metrics 200", "GET /v1/users/* 200", "GET /v1/users/*/usage 200",
            ]
            : [
                "POST /v1/reserve 200", "POST /v1/settle 200", "POST /v1/renew 200", "POST /v1/release 200",
                "POST /v1/usage 200", "PUT /v1/users/*/budget 200", "POST /v1/users/*/grants 200",
                "PUT /v1/groups/*/members/* 200", "GET /v1/audit 200", "GET /v1/events 200",
            ]
        for answer in wanted where !seen.contains(answer) { Issue.record("not seen: \(answer)") }
    }

    private func write(_ document: [String: Any]) throws -> String {
        let bytes = try JSONSerialization.data(withJSONObject: document)
        return try folder.write(String(decoding: bytes, as: UTF8.self), to: "openapi.json")
    }

    private static func operations(of document: [String: Any]) -> Int {
        let paths = document["paths"] as? [String: [String: Any]] ?? [:]
        return paths.values.reduce(0) { $0 + $1.keys.filter { $0 != "parameters" }.count }
    }

    /// The document with every object of an answer closed against members that it does not name.
    private static func closed(_ document: [String: Any]) -> [String: Any] {
        func closed(_ value: Any) -> Any {
            if let values = value as? [Any] { return values.map(closed) }
            guard var object = value as? [String: Any] else { return value }
            object = object.mapValues(closed)
            if object["properties"] is [String: Any], object["additionalProperties"] == nil {
                object["additionalProperties"] = false
            }
            return object
        }
        var document = document
        guard var components = document["components"] as? [String: Any],
            let schemas = components["schemas"] as? [String: Any]
        else { return document }
        let requests: Set = ["Call", "LeasedCall", "UserBudgetBody", "GroupBudgetBody", "GrantBody"]
        components["schemas"] = Dictionary(
            uniqueKeysWithValues: schemas.map { ($0, requests.contains($0) ? $1 : closed($1)) })
        document["components"] = components
        return document
    }

    /// The methods, paths and statuses of a run; who stands in a path is a star.
    private static func answers(in report: String) throws -> Set<String> {
        var answers: Set<String> = []
        for line in readFile(report).split(separator: "\n") {
            let event = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            let scenario = event?["ScenarioFinished"] as? [String: Any]
            let recorder = scenario?["recorder"] as? [String: Any]
            for interaction in (recorder?["interactions"] as? [String: [String: Any]] ?? [:]).values {
                guard let request = interaction["request"] as? [String: Any], let method = request["method"],
                    let address = request["uri"] as? String,
                    let response = interaction["response"] as? [String: Any], let status = response["status_code"]
                else { continue }
                let path = address.dropFirst("http://unix.localhost".count).prefix { $0 != "?" }
                    .replacing(/\/(users|groups|members|auth)\/[^\/]*/) { "/\($0.output.1)/*" }
                answers.insert("\(path.hasPrefix("/v1/auth/") ? "any" : method) \(path) \(status)")
            }
        }
        return answers
    }
}
