import Foundation
import TestSupport

/// The commands of the page Install, by their sections.
enum InstallPage {
    /// A command, and what the page shows that it prints.
    struct Example {
        var command: String
        var output = ""
    }

    static let text = readFile("\(projectFolder)/Sources/llm-rate-limit/LLMRateLimit.docc/Install.md")

    /// Each section that has commands, with its blocks of them.
    static let sections: [String: [[Example]]] = {
        let parts = text.components(separatedBy: "\n## ").dropFirst().map { part in
            (part.components(separatedBy: "\n")[0], part.components(separatedBy: "```console\n").dropFirst())
        }
        let all = parts.map { title, blocks in
            (title, blocks.map { examples(in: $0.components(separatedBy: "\n```")[0]) })
        }
        return Dictionary(uniqueKeysWithValues: all.filter { !$0.1.isEmpty })
    }()

    private static func examples(in block: String) -> [Example] {
        block.components(separatedBy: "\n").reduce(into: []) { examples, line in
            if line.hasPrefix("$ ") {
                examples.append(Example(command: String(line.dropFirst(2))))
            } else if examples.last?.command.hasSuffix("\\") == true {
                examples[examples.count - 1].command += "\n\(line)"
            } else if !examples.isEmpty {
                examples[examples.count - 1].output += "\(line)\n"
            }
        }
    }
}
