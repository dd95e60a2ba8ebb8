import Foundation
import Glibc
import TestSupport
import Testing

@testable import llm_rate_limit

/// The folder of this repository.
let projectFolder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

/// What `scripts/package` has built.
enum Packages {
    /// Their folder; nil in an ordinary run of the tests, which builds none.
    static let folder = getenv("LLM_RATE_LIMIT_PACKAGES").map { "\(String(cString: $0))/out" }

    static let image = "\(folder ?? "")/llm-rate-limit-\(programVersion)-image.tar"
    static let imageName = "llm-rate-limit:\(programVersion)"
}

extension Trait where Self == ConditionTrait {
    /// Runs where packages have been built, which takes many minutes, and as root, who alone can have namespaces for
    /// containers. `scripts/test` names at its end what was not run.
    static var needsPackages: Self {
        .enabled(
            if: Packages.folder != nil && isRoot,
            "not run: scripts/test --packages builds the packages that it needs, and runs it as root")
    }

    /// Runs where what `scripts/test` sets up is there, such as `packages/helm`: a machine may reach no registry.
    static func needsTool(_ names: String...) -> Self {
        let missing = names.filter { !FileManager.default.fileExists(atPath: "\(projectFolder)/.build/\($0)/packages") }
        return .enabled(if: missing.isEmpty, "not run: \(missing) could not be had")
    }
}
