import Foundation
import TestSupport

/// The Compose file and what it mounts, read.
struct ComposeFile {
    static let folder = "\(projectFolder)/deploy/compose"
    static let path = "\(folder)/compose.yaml"

    private(set) var value: [String: Any]

    init() throws { value = try Self.read(Self.path) }

    /// A YAML file with an object in it, by the Python that `scripts/setup-packages` has made.
    static func read(_ path: String) throws -> [String: Any] {
        let python = "\(projectFolder)/.build/packages/helm/bin/python"
        let process = try ChildProcess(python, ["\(projectFolder)/Tests/ImageTests/yaml-to-json.py", path])
        guard try process.wait(seconds: 60) == 0 else { throw TestFailure(process.errors) }
        let read = try JSONSerialization.jsonObject(with: Data(process.output.utf8))
        guard let object = read as? [String: Any] else { throw TestFailure("\(path) is no object") }
        return object
    }

    var services: [String: [String: Any]] {
        get { value["services"] as? [String: [String: Any]] ?? [:] }
        set { value["services"] = newValue }
    }

    /// What a service mounts: from where, to where, and how.
    struct Mount: Equatable {
        let source: String
        let target: String
        let isReadOnly: Bool

        init(_ text: String) {
            let parts = text.split(separator: ":").map(String.init)
            (source, target) = (parts[0], parts[1])
            isReadOnly = parts.count > 2 && parts[2] == "ro"
        }

        var isFile: Bool { source.hasPrefix(".") }

        /// Where the file is, from the root of this machine.
        var path: String { URL(fileURLWithPath: source, relativeTo: URL(fileURLWithPath: folder + "/")).path }
    }

    func mounts(of service: String) -> [Mount] { (services[service]?["volumes"] as? [String] ?? []).map(Mount.init) }

    /// The file that a service has at a path.
    func file(of service: String, at target: String) -> String {
        mounts(of: service).first { $0.target == target }.map { readFile($0.path) } ?? ""
    }

    func variables(of service: String) -> [String: String] {
        services[service]?["environment"] as? [String: String] ?? [:]
    }

    /// The ports that a service has this machine listen on: the address, the port there, and the container's.
    func ports(of service: String) -> [[String]] {
        (services[service]?["ports"] as? [String] ?? []).map { $0.split(separator: ":").map(String.init) }
    }
}
