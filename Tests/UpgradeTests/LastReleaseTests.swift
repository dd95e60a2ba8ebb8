import Foundation
import TestSupport
import Testing

@Suite("The last release", .needsReleases)
struct LastReleaseTests {
    @Test("Built from its tag it says its version, and its program is as large as was kept, within a hundredth")
    func program() throws {
        #expect(try Release.last.run(["version"]) == "llm-rate-limit \(lastRelease("version"))\n")
        let sizes = try Release.allCases.map { release in
            try #require(try FileManager.default.attributesOfItem(atPath: release.program)[.size] as? Int)
        }
        print("programs: \(sizes[0]) bytes of the last release, \(sizes[1]) of this one")
        #if arch(x86_64)
            let kept = try #require(Int(try lastRelease("program_bytes")))
            // Libraries of the system that builds it are in it, and are updated.
            #expect(abs(sizes[0] - kept) * 100 <= kept)
        #endif
    }

    @Test("A settings file with each of its defaults is taken by this one")
    func settings() throws {
        let folder = try TemporaryFolder()
        let file = readFile("\(Release.lastFolder)/tree/deploy/llm-rate-limit.env")
        let variables = file.replacing("#LLM_RATE_LIMIT_", with: "LLM_RATE_LIMIT_")
        #expect(variables.matches(of: /(?m)^LLM_RATE_LIMIT_/).count > 40)
        let path = try folder.write(variables, to: "settings.env")
        for release in Release.allCases { _ = try release.run(["config", "--check", "--env-file", path]) }
    }

    @Test("A limits file that it takes is taken by this one: each that its pages show")
    func limitsFiles() throws {
        let pages = "\(Release.lastFolder)/tree/Sources/llm-rate-limit/LLMRateLimit.docc"
        let names = try FileManager.default.contentsOfDirectory(atPath: pages).filter { $0.hasSuffix(".md") }
        let blocks = names.sorted().flatMap { name in
            readFile("\(pages)/\(name)").matches(of: /(?s)```(?:yaml|json)\n(.*?)\n```/).map { String($0.output.1) }
        }
        let folder = try TemporaryFolder()
        var taken = 0
        for block in blocks where block.contains("limits") {
            let path = try folder.write(block, to: "limits.yaml")
            let environment = ["LLM_RATE_LIMIT_LIMITS_FILE": path]
            guard (try? Release.last.run(["config", "--check"], environment)) != nil else { continue }
            #expect(throws: Never.self, "\(block)") { try Release.current.run(["config", "--check"], environment) }
            taken += 1
        }
        #expect(taken >= 3)
    }
}
