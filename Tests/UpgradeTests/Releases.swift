import Foundation
import Glibc
import TestSupport
import Testing

/// The folder of this repository.
let projectFolder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

/// Two programs that share a Redis while daemons are replaced.
enum Release: String, CaseIterable, CustomTestStringConvertible {
    /// The one that `deploy/last-release` names, built from its tag.
    case last
    /// That of this tree.
    case current

    var testDescription: String { rawValue }

    /// What `scripts/test --packages` has built; nil in an ordinary run of the tests, which builds none.
    private static let folder = getenv("LLM_RATE_LIMIT_PACKAGES").map { String(cString: $0) }

    /// Where `scripts/setup-last-release` keeps the last release.
    static let lastFolder = "\(folder ?? "")/last-release"

    /// The program as it is packaged.
    var program: String {
        switch self {
        case .last: "\(Self.lastFolder)/llm-rate-limit"
        case .current: "\(Self.folder ?? "")/llm-rate-limit"
        }
    }

    static let areBuilt = folder != nil && allCases.allSatisfy { access($0.program, X_OK) == 0 }

    /// What a program of it writes, where it ends well.
    func run(_ arguments: [String], _ environment: [String: String] = [:]) throws -> String {
        let process = try ChildProcess(program, arguments, environment: environment)
        guard try process.wait(seconds: 60) == 0 else { throw TestFailure("\(rawValue): \(process.errors)") }
        return process.output
    }
}

extension Trait where Self == ConditionTrait {
    /// Runs where both programs have been built: that takes minutes, and the commit of the last release, which a shallow
    /// clone may lack.
    static var needsReleases: Self {
        .enabled(
            if: Release.areBuilt,
            "not run: scripts/test --packages builds the last release from its commit, and runs it beside this one")
    }
}

/// A value that `deploy/last-release` has.
func lastRelease(_ name: String) throws -> String {
    let lines = readFile("\(projectFolder)/deploy/last-release").split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix("\(name)=") }) else {
        throw TestFailure("deploy/last-release has no \(name)")
    }
    return String(line.dropFirst(name.count + 1))
}
