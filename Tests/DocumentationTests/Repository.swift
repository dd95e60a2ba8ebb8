import Foundation
import Glibc
import TestSupport

/// The files beside the documentation: what a page may name.
enum Repository {
    static let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
    /// The folder of the pages.
    static let catalogue = "Sources/llm-rate-limit/LLMRateLimit.docc/"

    static func path(_ file: String) -> String { "\(root)/\(file)" }

    /// Every file, by its path from the root.
    static let files: [String] = ["Sources", "Tests", "scripts", "deploy"].flatMap { folder in
        let names = FileManager.default.enumerator(atPath: path(folder))?.compactMap { $0 as? String } ?? []
        return names.map { "\(folder)/\($0)" }
    }

    /// The text of every file that is no documentation and no input of a fuzzer, Swift without its comments: a name that
    /// only a comment still has is no name any more.
    static let texts: [String: String] = {
        let kept = files.filter { file in
            !file.contains(".docc") && !file.contains("Tests/Fuzz/Corpus") && !file.contains("Tests/DocumentationTests")
                && [
                    ".swift", ".lua", ".c", ".h", ".env", ".service", ".socket", ".conf", ".txt", ".py", ".toml",
                    ".yaml", ".cfg", ".js", "Caddyfile",
                ]
                .contains { file.hasSuffix($0) }
                || file.hasPrefix("scripts/")
        }
        let all = (kept + ["Package.swift"]).map { ($0, readFile(path($0))) }
        return Dictionary(uniqueKeysWithValues: all).mapValues(withoutComments)
    }()

    /// All of these texts in one.
    static let text = texts.keys.sorted().compactMap { texts[$0] }.joined(separator: "\n")

    private static func withoutComments(_ text: String) -> String {
        text.components(separatedBy: "\n").filter { line in
            let line = line.drop { $0 == " " }
            return !line.hasPrefix("//") && !line.hasPrefix("-- ")
        }.joined(separator: "\n")
    }

    private static let bytes = Array(text.utf8)

    /// Whether a text stands in one of the files as a word of its own.
    static func contains(word: String) -> Bool {
        func isPart(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        let wanted = Array(word.utf8)
        guard let first = wanted.first, let last = wanted.last else { return false }
        return bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return false }
            var start = 0
            while start + wanted.count <= bytes.count,
                let found = memchr(base + start, Int32(first), bytes.count - start - wanted.count + 1)
            {
                let place = base.distance(to: UnsafeRawPointer(found))
                let end = place + wanted.count
                start = place + 1
                guard memcmp(found, wanted, wanted.count) == 0 else { continue }
                let isLonger =
                    place > 0 && isPart(first) && isPart(bytes[place - 1])
                    || end < bytes.count && isPart(last) && isPart(bytes[end])
                if !isLonger { return true }
            }
            return false
        }
    }

    /// The names of types, functions, values and cases that the Swift sources declare.
    static let declared: Set<String> = {
        let keywords = "class|struct|enum|protocol|actor|typealias|func|var|let"
        var names = Set(matches(of: "\\b(?:\(keywords)) +`?([A-Za-z_][A-Za-z0-9_]*)", in: text))
        for cases in matches(of: "^ *(?:indirect )?case ([^:\n]+)$", in: text) {
            names.formUnion(matches(of: "(?:^|, )`?([A-Za-z_][A-Za-z0-9_]*)", in: cases))
        }
        // Modules are named like types.
        return names.union(targets.map(\.name))
    }()

    /// A target of the package.
    struct Target: CustomStringConvertible {
        var name: String
        var isTest: Bool
        /// The targets of this package that it uses.
        var uses: [String]
        /// What the manifest says of it.
        var text: String

        var description: String { name }
    }

    /// The targets of Package.swift.
    static let targets: [Target] = {
        let manifest = readFile(path("Package.swift")).components(separatedBy: "    targets: [\n").dropFirst().joined()
        // The first closing bracket at this depth ends them.
        let list = manifest.components(separatedBy: "\n    ]\n")[0]
        let parts = list.components(separatedBy: "\n").reduce(into: [String]()) { parts, line in
            if line.hasPrefix("        .") { return parts.append(line) }
            if let last = parts.popLast() { parts.append("\(last)\n\(line)") }
        }
        let names = parts.map { matches(of: "name: \"([^\"]+)\"", in: $0)[0] }
        return zip(names, parts).map { name, part in
            let uses = matches(of: "\"([A-Za-z0-9-]+)\"", in: part).filter { names.contains($0) && $0 != name }
            return Target(
                name: name, isTest: part.contains(".testTarget("), uses: Array(Set(uses)).sorted(), text: part)
        }
    }()
}
