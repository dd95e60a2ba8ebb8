import Foundation
import TestSupport
import Testing

@Suite("The fuzzers' corpus")
struct CorpusTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Corpus")

    private func inputs(_ target: FuzzTarget) throws -> [URL] {
        let folder = Self.folder.appendingPathComponent(target.rawValue)
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    }

    @Test("breaks no property of a target", arguments: FuzzTarget.allCases)
    func replay(_ target: FuzzTarget) throws {
        let inputs = try inputs(target)
        #expect(inputs.count >= 3, "a corpus that is nearly empty shows nothing")
        for input in inputs {
            let bytes = Array(try Data(contentsOf: input))
            do throws(FuzzFinding) {
                let result = bytes.withUnsafeBytes { bytes in Result { () throws(FuzzFinding) in try target.run(bytes) }
                }
                try result.get()
            } catch {
                Issue.record("\(target.rawValue)/\(input.lastPathComponent): \(error)")
            }
        }
    }

    @Test("is of no other targets than there are")
    func folders() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(Set(names) == Set(FuzzTarget.allCases.map(\.rawValue)))
    }
}
