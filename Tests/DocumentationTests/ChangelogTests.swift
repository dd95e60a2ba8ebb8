import TestSupport
import Testing

@testable import llm_rate_limit

@Suite("The changelog")
struct ChangelogTests {
    @Test("begins with the version of the program, and tells each version once")
    func versions() {
        let page = readFile(Repository.path("Sources/llm-rate-limit/LLMRateLimit.docc/Changelog.md"))
        let versions = matches(of: "(?m)^## ([0-9]+\\.[0-9]+\\.[0-9]+)$", in: page)
        #expect(versions.first == programVersion)
        #expect(Set(versions).count == versions.count)
    }

    @Test(
        "says when the last release was, which deploy/last-release names, and of this version that or that it is to come"
    )
    func released() throws {
        let page = readFile(Repository.path("Sources/llm-rate-limit/LLMRateLimit.docc/Changelog.md"))
        let named = readFile(Repository.path("deploy/last-release"))
        let version = try #require(matches(of: "(?m)^version=(.+)$", in: named).first)
        let day = try #require(matches(of: "(?m)^released=(.+)$", in: named).first)
        #expect(page.contains("\n## \(version)\n\nOf \(day),"))
        let current = matches(
            of: "\n## \(programVersion)\n\n(Not released yet\\.|Of [0-9]{4}-[0-9]{2}-[0-9]{2},)", in: page)
        #expect(current.count == 1 && version != programVersion)
    }
}
