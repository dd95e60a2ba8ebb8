import Foundation
import Glibc
import TestSupport
import Testing

/// The folder of this repository.
let projectFolder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

/// Where `scripts/setup-debian` keeps what it has made.
let toolsFolder = "\(projectFolder)/.build/packages"

extension Trait where Self == ConditionTrait {
    /// Runs where the packages have been built: that takes minutes.
    static var needsPackages: Self {
        .enabled(if: Packages.folder != nil, "not run: scripts/test --packages builds the packages and runs it")
    }

    /// Runs where these folders of `scripts/setup-debian` are there: a machine may reach no registry.
    static func needs(_ names: String...) -> Self {
        let missing = names.filter { !FileManager.default.fileExists(atPath: "\(toolsFolder)/\($0)/packages") }
        return .enabled(if: missing.isEmpty, "not run: scripts/setup-debian could not make \(missing)")
    }

    /// Runs where a test may have roots, mounts and process ids of its own.
    static var needsNamespaces: Self {
        .enabled(if: areNamespacesAllowed, "not run: this needs root, and a kernel that gives it namespaces")
    }
}

private let areNamespacesAllowed: Bool = {
    guard isRoot, let probe = try? ChildProcess("unshare", ["--mount", "--net", "--pid", "--fork", "true"]) else {
        return false
    }
    return (try? probe.wait()) == 0
}()
