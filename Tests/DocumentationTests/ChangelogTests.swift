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
}
