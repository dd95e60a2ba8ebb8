import Glibc
import Logging
import Testing

@testable import StructuredLog

@Suite("Lines")
struct LineTests {
    @Test("JSON: one object a line, metadata flat and sorted")
    func json() throws {
        let capture = try Capture()
        var logger = logger(LogOutput(fileDescriptor: capture.writeEnd), .json)
        logger[metadataKey: "loop"] = "1"
        logger.info("ready", metadata: ["socket": "/run/a.sock", "list": ["a", ["k": "v"]], "bits": "\(7)"])
        #expect(
            capture.text() == #"{"time":"2026-11-21T10:00:00.000Z","level":"info","message":"ready","bits":"7","#
                + #""list":["a",{"k":"v"}],"loop":"1","socket":"/run/a.sock"}"# + "\n"
        )
    }

    @Test("Text: time, level, message, then key=value, quoted where a reader would stumble")
    func text() throws {
        let capture = try Capture()
        let logger = logger(LogOutput(fileDescriptor: capture.writeEnd), .text)
        logger.warning(
            "slow \"now\"",
            metadata: ["a": "b", "empty": "", "path": "x y", "quote": "\"", "sum": "1=1", "l": ["p q"], "k k": "v"]
        )
        #expect(
            capture.text() == #"2026-11-21T10:00:00.000Z warning slow "now" a=b empty="" "k k"=v l=["p q"] path="x y""#
                + #" quote="\"" sum="1=1""# + "\n"
        )
    }

    @Test("Whatever a string holds, JSON gives it back and the line stays one line", arguments: LogFormat.allCases)
    func escaping(format: LogFormat) throws {
        let nasty = "\u{0}\u{1b}[31m\"\\\n\r\t/é\u{85}\u{9b}\u{7f}\u{2028}👩‍🚒"
        let capture = try Capture()
        logger(LogOutput(fileDescriptor: capture.writeEnd), format)
            .error("\(nasty)", metadata: ["value": "\(nasty)", "\(nasty)": "k"])
        let line = capture.text()
        #expect(line.utf8.filter { $0 < 0x20 } == [UInt8(ascii: "\n")] && line.hasSuffix("\n"))
        #expect(!line.unicodeScalars.contains { $0.value >= 0x7f && $0.value < 0xa0 })
        if format == .json {
            let object = try JSONValue.parse(line)
            #expect(object["message"] == .string(nasty))
            #expect(object["value"] == .string(nasty))
            #expect(object[nasty] == .string("k"))
        }
    }

    @Test("Metadata cannot pass for the line's own members")
    func reserved() throws {
        let capture = try Capture()
        logger(LogOutput(fileDescriptor: capture.writeEnd), .json)
            .info("m", metadata: ["time": "t", "level": "l", "message": "x", "truncated": "y"])
        let object = try JSONValue.parse(capture.text())
        #expect(object["message"] == .string("m"))
        #expect(object["message_"] == .string("x"))
        #expect(object["truncated"] == nil)
    }

    @Test("The event's metadata wins over the logger's, and that over the provider's; an error has a member")
    func precedence() throws {
        struct Broken: Error {}
        let capture = try Capture()
        let provider = Logger.MetadataProvider { ["a": "provider", "b": "provider", "c": "provider"] }
        var logger = logger(LogOutput(fileDescriptor: capture.writeEnd), .json, provider: provider)
        logger[metadataKey: "b"] = "logger"
        logger[metadataKey: "c"] = "logger"
        logger.error("m", error: Broken(), metadata: ["c": "event"])
        let object = try JSONValue.parse(capture.text())
        #expect(object["a"] == .string("provider"))
        #expect(object["b"] == .string("logger"))
        #expect(object["c"] == .string("event"))
        #expect(object["error"] == .string("Broken()"))
    }

    @Test(
        "A line that is too long is cut, says so, and is still JSON",
        arguments: Capture.Kind.allCases,
        [
            ("message", String(repeating: "é", count: 9_000), [:]),
            ("value", "m", ["long": "\(String(repeating: "\u{1}", count: 9_000))", "z": "z"]),
            ("key", "m", [String(repeating: "k", count: 9_000): "v"]),
            ("list", "m", ["list": .array(Array(repeating: ["k": ["v"]], count: 5_000))]),
            ("many", "m", Dictionary(uniqueKeysWithValues: (0..<3_000).map { ("\($0)", "\($0)") })),
        ] as [(String, String, Logger.Metadata)]
    )
    func truncated(kind: Capture.Kind, example: (name: String, message: String, metadata: Logger.Metadata)) throws {
        let capture = try Capture(kind)
        let output = LogOutput(fileDescriptor: capture.writeEnd)
        logger(output, .json).info("\(example.message)", metadata: example.metadata)
        let line = capture.text()
        let limit = kind == .pipe ? 4_096 : 8_192
        #expect(line.utf8.count <= limit && line.utf8.count > limit - 128)
        #expect(try JSONValue.parse(line)["truncated"] == .bool(true))
        logger(output, .text).info("\(example.message)", metadata: example.metadata)
        let textLine = capture.text()
        #expect(textLine.utf8.count <= limit && textLine.hasSuffix(" truncated=true\n"))
        #expect(output.lostLines == 0)
    }

    @Test("At every length around the limit the line is within it and well formed")
    func lengths() throws {
        for length in 3_800..<4_096 {
            for field in ["", "x", "\""] {
                var line = LogLine(limit: 4_096)
                let message = Logger.Message(stringLiteral: String(repeating: "m", count: length))
                let deep: Logger.MetadataValue = [[[[[["\(field)"]]]]]]
                let fields: LogLine.Fields = [(key: "a", value: deep), (key: "b", value: "c")]
                line.appendJSON(time: tenOClock(), level: .critical, message: message, fields: fields)
                let object = try JSONValue.parse(String(decoding: line.bytes, as: UTF8.self))
                #expect(line.bytes.count <= 4_096)
                #expect((object["truncated"] != nil) == line.isTruncated)
                #expect(line.isTruncated || object["b"] == .string("c"))
            }
        }
    }

    @Test("Nesting is cut at its bound")
    func nesting() throws {
        var value: Logger.MetadataValue = "inner"
        for _ in 0..<1_000 { value = [value] }
        let capture = try Capture()
        logger(LogOutput(fileDescriptor: capture.writeEnd), .json).info("m", metadata: ["a": value, "b": "c"])
        let object = try JSONValue.parse(capture.text())
        #expect(object["truncated"] == .bool(true))
        #expect(object["b"] == .string("c"))
    }

    @Test(
        "Times are right on the calendar's edges",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_798_761_599_001, "2026-12-31T23:59:59.001Z"), (-1, "1969-12-31T23:59:59.999Z"),
        ]
    )
    func times(milliseconds: Int64, expected: String) {
        var bytes: [UInt8] = []
        UnixMilliseconds(value: milliseconds).appendText(to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
    }

    @Test("Every day of four centuries agrees with the C library")
    func calendar() {
        for day in stride(from: -20_000, to: 130_000, by: 1) {
            var seconds = day * 86_400 + 3_661
            var parts = tm()
            gmtime_r(&seconds, &parts)
            var expected = [CChar](repeating: 0, count: 32)
            let count = strftime(&expected, expected.count, "%Y-%m-%dT%H:%M:%S.000Z", &parts)
            var bytes: [UInt8] = []
            UnixMilliseconds(value: Int64(seconds) * 1_000).appendText(to: &bytes)
            #expect(bytes == expected[..<count].map { UInt8(bitPattern: $0) })
        }
    }
}
