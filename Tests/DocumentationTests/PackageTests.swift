import TestSupport
import Testing

@Suite("The package's manifest")
struct PackageTests {
    private static let manifest = readFile(Repository.path("Package.swift"))

    /// The modules of other packages, by the names that the manifest gives them.
    private static let products: [String: String] = {
        let names = matches(of: "static let (\\w+) = product\\(", in: manifest)
        let modules = matches(of: "static let \\w+ = product\\(name: \"(\\w+)\"", in: manifest)
        return Dictionary(uniqueKeysWithValues: zip(names, modules))
    }()

    /// The modules that a part of the manifest names.
    private static func modules(_ text: String) -> Set<String> {
        let own = matches(of: "\"([A-Za-z0-9-]+)\"", in: text).map { $0.replacing("-", with: "_") }
        return Set(own).union(matches(of: "\\.(\\w+)[,\\] ]", in: text).compactMap { products[$0] })
    }

    private static let fuzzed = modules(matches(of: "let fuzzed: [^=]+= \\[([^\\]]+)\\]", in: manifest).joined())

    @Test("declares every module of a package that a target's sources import", arguments: Repository.targets)
    func imports(target: Repository.Target) throws {
        let folder = matches(of: "path: \"([^\"]+)\"", in: target.text).first
        let start = "\(folder ?? "\(target.isTest ? "Tests" : "Sources")/\(target.name)")/"
        let texts = Repository.texts.filter { $0.key.hasPrefix(start) && $0.key.hasSuffix(".swift") }
        let imported = Set(
            texts.values.flatMap { matches(of: "^ *(?:@testable )?(?:public |package )?import (\\w+)$", in: $0) })
        let declared = Self.modules(target.text).union(target.text.contains("fuzzed +") ? Self.fuzzed : [])
        let known = Set(Repository.targets.map { $0.name.replacing("-", with: "_") }).union(Self.products.values)
        #expect(imported.intersection(known).subtracting(declared).sorted() == [])
    }

    @Test("names each product of another package once")
    func once() {
        let named = matches(of: "product\\(name: \"(\\w+)\"", in: Self.manifest)
        #expect(named.count > 10 && Set(named).count == named.count && Self.products.count == named.count)
    }
}
