import BoundedFiles
import RedisClient
import Testing

@testable import DaemonConfiguration

@Suite("The files in deploy")
struct DeployTests {
    private func text(of name: String) throws -> String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return String(
            decoding: try BoundedFile(path: "/\(root)/deploy/\(name)", maximumBytes: 1 << 16).bytes, as: UTF8.self)
    }

    @Test("offer every option with its default, and change nothing as they are")
    func exampleFile() throws {
        let content = try text(of: "llm-rate-limit.env")
        #expect(try EnvironmentFile(parsing: Array(content.utf8)).assignments.isEmpty)

        var uncommented = content
        for prefix in [OptionName.variablePrefix, OptionName.sharedPrefix] {
            uncommented.replace("\n#\(prefix)", with: "\n\(prefix)")
        }
        let file = try EnvironmentFile(parsing: Array(uncommented.utf8))
        #expect(file.ignoredLines.isEmpty)
        // A file cannot name another, so the one option that names a file is not in it.
        let expected = OptionCatalogue.all.filter { $0.name != .envFile }
        #expect(file.assignments.map(\.name) == expected.map(\.name.variable))
        #expect(file.assignments.map(\.value) == expected.map(\.defaultText))

        // A comment that promises a reload must be true.
        let lines = content.split(separator: "\n")
        for (comment, line) in zip(lines, lines.dropFirst())
        where line.hasPrefix("#\(OptionName.variablePrefix)") || line.hasPrefix("#\(OptionName.sharedPrefix)") {
            let name = line.dropFirst().prefix { $0 != "=" }
            let option = try #require(OptionName(variable: String(name)))
            #expect(comment.contains("(reload)") == OptionCatalogue[option].isReloadable, "\(name)")
        }
    }

    @Test("name known options only in the unit")
    func unit() throws {
        let content = try text(of: "llm-rate-limit.service")
        for line in content.split(separator: "\n") {
            guard let start = line.firstRange(of: OptionName.variablePrefix)?.lowerBound else { continue }
            let name = line[start...].prefix { $0.isLetter || $0 == "_" }
            #expect(OptionName(variable: String(name)) != nil, "\(name)")
        }
        #expect(content.contains("RestartPreventExitStatus=78"))
    }

    @Test("leave the default drain the time it may take, also under a service manager that gives no more")
    func stopTimeout() throws {
        let line = try #require(
            try text(of: "llm-rate-limit.service").split(separator: "\n").first { $0.hasPrefix("TimeoutStopSec=") })
        let seconds = try #require(Int(line.dropFirst("TimeoutStopSec=".count)))
        let settings = Settings()
        #expect(seconds * 1_000 > settings.drainTimeoutMilliseconds + settings.redisTimeoutMilliseconds + 5_000)
    }
}
