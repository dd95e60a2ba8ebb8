import Foundation
import Testing

/// The folder of this repository.
let projectFolder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

/// What `scripts/setup-packages` and `scripts/setup-gateways` have made, by its folder in `.build`.
private func isThere(_ name: String) -> Bool {
    FileManager.default.fileExists(atPath: "\(projectFolder)/.build/\(name)/packages")
}

extension Trait where Self == ConditionTrait {
    /// Runs where these tools are there, such as `packages/helm`: a machine may reach no registry. `scripts/test` names at
    /// its end what was not run.
    static func needs(_ names: String...) -> Self {
        let missing = names.filter { !isThere($0) }
        return .enabled(if: missing.isEmpty, "not run: \(missing) could not be had")
    }
}
