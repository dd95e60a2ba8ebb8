import Foundation
import TestSupport

/// A gateway's program as `scripts/setup-gateways` has unpacked or installed it.
struct UnpackedGateway {
    /// The root of the unpacked packages.
    let root: String
    /// What the folders of libraries are called for this machine, such as `x86_64-linux-gnu`.
    private let machine: String

    private static let project = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

    init(_ name: String) throws {
        root = "\(gatewaysFolder)/\(name)"
        guard isGatewayThere(name) else { throw TestFailure("there is no \(name) in \(gatewaysFolder)") }
        let folders = (try? FileManager.default.contentsOfDirectory(atPath: "\(root)/usr/lib")) ?? []
        machine = folders.first { $0.hasSuffix("-linux-gnu") } ?? ""
    }

    /// The folder of its libraries.
    var libraries: String { "\(root)/usr/lib/\(machine)" }

    /// A file of `deploy/`.
    static func deployed(_ file: String) throws -> String {
        let text = readFile("\(project)/deploy/\(file)")
        guard !text.isEmpty else { throw TestFailure("there is no deploy/\(file)") }
        return text
    }

    /// A file of this folder.
    static func helper(_ file: String) -> String { "\(project)/Tests/GatewayTests/\(file)" }

    /// Starts the program of these packages, with their libraries.
    func start(_ program: String, _ arguments: [String], variables: [String: String] = [:]) throws -> ChildProcess {
        let environment = ["LD_LIBRARY_PATH": "\(libraries):\(root)/lib/\(machine)"].merging(variables) { $1 }
        return try ChildProcess("\(root)/\(program)", arguments, environment: environment)
    }
}

/// A file of `deploy/` with its paths and ports changed to those of a test.
struct Configuration {
    private(set) var text: String

    init(_ file: String) throws { text = try UnpackedGateway.deployed(file) }

    /// Replaces what must be there: a file that has changed is not tested as something else.
    mutating func replace(_ old: String, with new: String) throws {
        guard text.contains(old) else { throw TestFailure("the configuration has no \"\(old)\"") }
        text = text.replacing(old, with: new)
    }
}
