import Foundation
import TestSupport
import Testing

/// What comes with the program.
@Suite("The tarball", .needsPackages)
struct ContentTests {
    let tarball: Tarball

    init() throws { tarball = try Tarball() }

    @Test("The checksums are those of the packages, of each of them")
    func checksums() throws {
        let out = "\(Packages.folder ?? "")/out"
        let checked = try Command("sh", ["-c", "cd '\(out)' && sha256sum --check --strict SHA256SUMS"])
        try checked.succeeded()
        let names = try FileManager.default.contentsOfDirectory(atPath: out).filter { $0 != "SHA256SUMS" }
        #expect(Set(checked.lines) == Set(names.map { "\($0): OK" }))
    }

    @Test("Packed twice from the same program, the tarball, the Debian package and the RPM are the same bytes")
    func repeatable() throws {
        for end in [".tar.xz", ".deb", ".rpm"] {
            let again = try Packages.file(end, in: "again")
            #expect(try Command("cmp", [Packages.file(end), again]).code == 0, "\(end)")
        }
    }

    @Test("The list of what the program is made of has each Swift package, at the version that is built")
    func swiftPackages() throws {
        let pins = try JSONSerialization.jsonObject(with: Data(readFile("\(projectFolder)/Package.resolved").utf8))
        let resolved = try #require((pins as? [String: Any])?["pins"] as? [[String: Any]]).map { pin in
            "\(pin["identity"] ?? "") \((pin["state"] as? [String: Any])?["version"] ?? "")"
        }
        let listed = try components().filter { $0.purl.hasPrefix("pkg:swift/") }.map { "\($0.name) \($0.version)" }
        #expect(!resolved.isEmpty && Set(listed) == Set(resolved))
    }

    @Test("It has the package of each library that is linked in, and Swift's runtime")
    func linkedLibraries() throws {
        let script = readFile("\(projectFolder)/scripts/package.d/program.sh")
        let list = try #require(script.firstMatch(of: /static_libraries=\(([^)]*)\)/))
        let libraries = list.output.1.split(separator: " ")
        #expect(libraries.count >= 6)
        let listed = try Set(components().map(\.name))
        #expect(listed.contains("swift-runtime"))
        for library in libraries {
            let found = try Command("clang", ["-print-file-name=lib\(library).a"]).succeeded().trimmed
            let archive = URL(fileURLWithPath: found).resolvingSymlinksInPath().path
            let owner = try Command("dpkg", ["--search", archive]).succeeded().prefix { $0 != ":" }
            #expect(listed.contains(String(owner)), "\(library) is \(owner)'s")
        }
    }

    @Test("It is CycloneDX 1.5 by the word of CycloneDX's own checker", .needs("sbom"))
    func cycloneDX() throws {
        let script = """
            import sys
            from cyclonedx.schema import SchemaVersion
            from cyclonedx.validation.json import JsonStrictValidator
            problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
            sys.exit(f"{problem}" if problem else 0)
            """
        func check(_ path: String) throws -> Command {
            try Command("\(toolsFolder)/sbom/bin/python", ["-c", script, path])
        }
        #expect(try check(documentation("sbom.cdx.json")).errors == "")
        // The checker reads it.
        let text = readFile(documentation("sbom.cdx.json")).replacing("\"library\"", with: "\"libary\"")
        #expect(try check(tarball.folder.write(text, to: "bad.json")).code == 1)
    }

    private func documentation(_ name: String) -> String { "\(tarball.root)/usr/share/doc/llm-rate-limit/\(name)" }

    private func components() throws -> [(name: String, version: String, purl: String)] {
        let bytes = Data(readFile(documentation("sbom.cdx.json")).utf8)
        let value = try JSONSerialization.jsonObject(with: bytes) as? [String: Any]
        return try #require(value?["components"] as? [[String: Any]]).map {
            ($0["name"] as? String ?? "", $0["version"] as? String ?? "", $0["purl"] as? String ?? "")
        }
    }
}
