import Foundation
import TestSupport
import Testing

/// The pages for `man` as they are packed; what stands in them, PackageTests hold.
@Suite("The manual", .needsPackages)
struct ManualTests {
    let tarball: Tarball

    init() throws { tarball = try Tarball() }

    @Test("Neither groff nor mandoc warns of a page", .needs("debian"), .needsNamespaces)
    func warnings() throws {
        let machine = try Machine(booted: false)
        let page = machine.path("/tmp/page")
        for section in [1, 5, 7] {
            let packed = "\(tarball.root)/usr/share/man/man\(section)/llm-rate-limit.\(section).gz"
            try Command("zcat", [packed]).succeeded().write(toFile: page, atomically: false, encoding: .utf8)
            let groff = try machine.run("groff", "-mdoc", "-Tutf8", "-ww", "-z", "/tmp/page")
            #expect(groff.code == 0 && groff.errors == "", "\(section)")
            let mandoc = try machine.run("mandoc", "-T", "lint", "-W", "warning", "/tmp/page")
            #expect(mandoc.code == 0 && mandoc.output == "", "\(section)")
        }
    }
}
