import Foundation
import TestSupport
import Testing

@Suite("The pages and their links")
struct LinkTests {
    @Test("The README has at most 200 lines")
    func readme() {
        #expect(Page.readme.text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().count <= 200)
    }

    @Test("Every <doc:…> is a page, and every page stands on the first one")
    func pages() throws {
        let names = Set(Page.catalogue.map { String($0.name.dropLast(3)) })
        for page in Page.all {
            for link in matches(of: "<doc:([^>]+)>", in: page.text) {
                #expect(names.contains(link), "\(page.name) leads to \(link)")
            }
        }
        let first = matches(of: "- <doc:([^>]+)>", in: try Page.named("LLMRateLimit").text)
        #expect(first.sorted() == names.subtracting(["LLMRateLimit"]).sorted())
    }

    @Test("Every link to a file leads to one")
    func files() {
        for page in Page.all {
            for link in matches(of: "\\]\\(([^)#:]+)\\)", in: page.text) {
                #expect(FileManager.default.fileExists(atPath: Repository.path(link)), "\(page.name) leads to \(link)")
            }
        }
    }

    @Test("Every page has one title, and every fence is closed", arguments: Page.all)
    func form(page: Page) {
        #expect(page.prose.components(separatedBy: "\n").filter { $0.hasPrefix("# ") }.count == 1)
        #expect(page.text.components(separatedBy: "\n").filter { $0.hasPrefix("```") }.count == page.blocks.count * 2)
        for table in page.tables {
            #expect(table.rows.allSatisfy { $0.count == table.header.count }, "\(table.header)")
        }
    }
}
