import Glibc
import Logging
import Testing

@testable import StructuredLog

@Suite("The output")
struct OutputTests {
    @Test("A new level holds at once for every logger, but not for one that has its own")
    func sharedLevel() throws {
        let capture = try Capture()
        let output = LogOutput(fileDescriptor: capture.writeEnd, level: .warning)
        let first = logger(output, .text)
        var second = logger(output, .text)
        var own = logger(output, .text)
        own.logLevel = .error
        second[metadataKey: "n"] = "2"
        first.info("no")
        #expect(capture.text() == "")
        output.level = .debug
        first.debug("one")
        second.debug("two")
        own.info("no")
        #expect(capture.text().split(separator: "\n").map { $0.split(separator: " ")[2] } == ["one", "two"])
        for level in Logger.Level.allCases {
            output.level = level
            #expect(output.level == level && first.logLevel == level)
        }
    }

    @Test("A reader that has stopped costs lines, never time", .timeLimit(.minutes(1)))
    func stoppedReader() throws {
        for kind in [Capture.Kind.pipe, .socket] {
            let capture = try Capture(kind)
            let output = LogOutput(fileDescriptor: capture.writeEnd)
            let logger = logger(output, .json)
            let long = String(repeating: "x", count: 3_000)
            for _ in 0..<2_000 { logger.info("\(long)") }
            #expect(output.lostLines > 0 && output.lostLines < 2_000)
            let lost = output.lostLines
            while !capture.text().isEmpty {}
            logger.info("back")
            #expect(capture.text().contains("back"))
            #expect(output.lostLines == lost)
        }
    }

    @Test("A reader that has gone away costs lines, never the process")
    func goneReader() throws {
        for kind in [Capture.Kind.pipe, .socket] {
            let capture = try Capture(kind)
            let output = LogOutput(fileDescriptor: capture.writeEnd)
            capture.closeReader()
            logger(output, .text).info("nobody reads this")
            #expect(output.lostLines == 1)
        }
    }

    @Test("A full disk costs lines")
    func fullDisk() throws {
        let full = open("/dev/full", O_WRONLY | O_CLOEXEC)
        try #require(full >= 0)
        defer { close(full) }
        let output = LogOutput(fileDescriptor: full)
        logger(output, .json).info("no room")
        #expect(output.lostLines == 1)
    }

    @Test("Lines of many threads never mix")
    func threads() async throws {
        let capture = try Capture(.file)
        let output = LogOutput(fileDescriptor: capture.writeEnd)
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    let logger = logger(output, .json)
                    for _ in 0..<50 { logger.info("m", metadata: ["task": "\(task)"]) }
                }
            }
        }
        let lines = capture.text().split(separator: "\n")
        #expect(lines.count == 400)
        for line in lines { #expect(try JSONValue.parse(String(line))["message"] == .string("m")) }
    }
}
