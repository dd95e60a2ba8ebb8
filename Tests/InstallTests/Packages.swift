import Foundation
import Glibc
import TestSupport

/// What `scripts/test --packages` has built.
enum Packages {
    /// `out` has the packages, `again` the same packed once more, and `next` the Debian package of a later revision.
    static let folder = getenv("LLM_RATE_LIMIT_PACKAGES").map { String(cString: $0) }

    /// The one file of a folder whose name ends so.
    static func file(_ end: String, in name: String = "out") throws -> String {
        let path = "\(folder ?? "")/\(name)"
        let files = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(end) }
        guard files.count == 1 else { throw TestFailure("\(path) has \(files.count) files that end with \(end)") }
        return "\(path)/\(files[0])"
    }
}

/// Everything of the tarball, unpacked into a folder of its own.
struct Tarball {
    let folder: TemporaryFolder
    /// Where its files are laid out as they are installed.
    let root: String
    var program: String { "\(root)/usr/bin/llm-rate-limit" }

    init() throws {
        folder = try TemporaryFolder()
        try Command("tar", ["-xJf", Packages.file(".tar.xz"), "-C", folder.path]).succeeded()
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        guard names.count == 1 else { throw TestFailure("the tarball has \(names)") }
        root = folder.file(names[0])
    }
}

/// A command that has ended.
struct Command {
    let code: Int32
    let output: String
    let errors: String
    private let text: String

    /// Runs a command to its end, with the variables and folders of programs that maintainers' scripts expect.
    init(_ program: String, _ arguments: [String] = []) throws {
        let variables = [
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        ]
        let process = try ChildProcess(program, arguments, environment: variables)
        // No answer to how long it takes: a busy machine may need minutes for a package.
        code = try process.wait(seconds: 300)
        output = process.output
        errors = process.errors
        text = ([program] + arguments).joined(separator: " ")
    }

    /// Its output, where it has ended well.
    @discardableResult
    func succeeded() throws -> String {
        guard code == 0 else { throw TestFailure("\(text) ended with \(code): \(output) \(errors)") }
        return output
    }

    var lines: [String] { output.split(separator: "\n").map(String.init) }
}

extension String {
    /// Without white space at both ends.
    var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
