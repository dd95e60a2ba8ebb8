import Foundation
import RateLimitService
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

    @Test("holds leases that are read, in a lease's corpus and in those of bodies and requests")
    func leases() throws {
        for target in [FuzzTarget.lease, .callBody, .fastPath, .differential] {
            let texts = try inputs(target).map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
            let words = texts.flatMap { $0.split { !$0.isASCII || !($0.isLetter || $0.isNumber || "-_".contains($0)) } }
            #expect(
                words.contains { Lease($0) != nil }, "no lease of the form that is written now in \(target.rawValue)")
        }
    }

    @Test("is of no other targets than there are")
    func folders() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(Set(names) == Set(FuzzTarget.allCases.map(\.rawValue)))
    }
}
