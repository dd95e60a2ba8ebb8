import Foundation
import TestSupport

/// A value of a manifest: an object, a list, a text, a number, yes or no, or nothing.
struct Manifest: CustomStringConvertible {
    let value: Any?

    /// A member of an object, or nothing.
    subscript(name: String) -> Manifest { Manifest(value: (value as? [String: Any])?[name]) }

    var list: [Manifest] { (value as? [Any] ?? []).map { Manifest(value: $0) } }
    var names: Set<String> { Set((value as? [String: Any] ?? [:]).keys) }
    var text: String? { value as? String }
    var number: Int? { value as? Int }
    var flag: Bool? { value as? Bool }
    var texts: [String] { list.compactMap(\.text) }

    /// The one of a list that has this name.
    func named(_ name: String) -> Manifest { list.first { $0["name"].text == name } ?? Manifest(value: nil) }

    var description: String { value.map { "\($0)" } ?? "nothing" }
}

/// The real Helm and the schemas of Kubernetes, as `scripts/setup-packages` has installed them.
enum Helm {
    static let chart = "\(projectFolder)/deploy/helm/llm-rate-limit"

    /// What one command of helm.py says, or what it refuses.
    private static func run(_ arguments: [String]) throws -> String {
        let python = "\(projectFolder)/.build/packages/helm/bin/python"
        let process = try ChildProcess(python, ["\(projectFolder)/Tests/PackageTests/helm.py"] + arguments)
        guard try process.wait(seconds: 120) == 0 else { throw TestFailure(process.errors) }
        return process.output
    }

    private static func json(_ value: Any) throws -> String {
        String(decoding: try JSONSerialization.data(withJSONObject: value, options: [.sortedKeys]), as: UTF8.self)
    }

    /// What the chart is with some values, in YAML.
    static func render(_ values: String = "", chart: String = chart) throws -> Rendered {
        let text = try run(["render", chart, values])
        let value = Manifest(value: try JSONSerialization.jsonObject(with: Data(text.utf8)))
        return Rendered(objects: value["objects"].list, notes: value["notes"].text ?? "")
    }

    /// Why each of these values is refused; nil where they are not.
    static func refusals(of values: [String], chart: String = chart) throws -> [String?] {
        let text = try run(["refusals", chart] + values)
        return Manifest(value: try JSONSerialization.jsonObject(with: Data(text.utf8))).list.map(\.text)
    }

    /// What Helm's linter says, at the severities of warnings and errors.
    static func lint(_ chart: String = chart) throws -> [String] {
        let value = Manifest(value: try JSONSerialization.jsonObject(with: Data(run(["lint", chart]).utf8)))
        return value["messages"].list.filter { $0["severity"].number != 1 }.map { $0["error"].text ?? "" }
            + value["errors"].texts
    }

    /// Packages the chart into a folder, and gives the archive's path.
    static func package(into folder: TemporaryFolder) throws -> String {
        try run(["package", chart, folder.path]).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The manifests for those without Helm.
    static func manifests() throws -> String { try run(["manifests", chart]) }

    /// What the strict schemas of a version of Kubernetes say against objects; nil where they say nothing.
    static func problem(of objects: [Manifest], version: String = "1.37") throws -> String? {
        let file = try TemporaryFolder()
        let path = try file.write(json(objects.map { $0.value ?? [:] }), to: "objects.json")
        do {
            _ = try run(["validate", version, path])
            return nil
        } catch {
            return "\(error)"
        }
    }
}

/// What a chart is with some values.
struct Rendered {
    let objects: [Manifest]
    let notes: String

    /// The first object of a kind whose name ends so.
    func object(_ kind: String, _ end: String = "") -> Manifest {
        objects.first { $0["kind"].text == kind && $0["metadata"]["name"].text?.hasSuffix(end) == true }
            ?? Manifest(value: nil)
    }

    var pod: Manifest { object("Deployment")["spec"]["template"]["spec"] }
    var daemon: Manifest { pod["initContainers"].named("llm-rate-limit") }
    var gateway: Manifest { pod["containers"].named("gateway") }

    /// The daemon's variables that are not a Secret's.
    var variables: [String: String] {
        let pairs = daemon["env"].list.compactMap { entry in entry["value"].text.map { (entry["name"].text ?? "", $0) }
        }
        return Dictionary(uniqueKeysWithValues: pairs)
    }
}
