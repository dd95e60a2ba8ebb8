import NIOCore
import TestSupport
import Testing

@testable import RedisClient

@Suite("Encoding a command")
struct RESPEncodingTests {
    @Test(
        "gives the bytes that hiredis gives",
        arguments: [
            ["PING"],
            ["SET", "key", ""],
            ["AUTH", "user", "pass word\r\n$5"],
            ["SET", "ключ", "значение"],
            ["ECHO", String(repeating: "x", count: 9)],
            ["ECHO", String(repeating: "x", count: 10)],
            ["ECHO", String(repeating: "x", count: 99)],
            ["ECHO", String(repeating: "x", count: 100)],
            ["ECHO", String(repeating: "x", count: 70_000)],
            Array(repeating: "a", count: 9),
            Array(repeating: "a", count: 10),
            Array(repeating: "a", count: 99),
            Array(repeating: "a", count: 100),
            Array(repeating: "a", count: 1_000),
        ])
    func command(_ arguments: [String]) {
        var buffer = ByteBuffer()
        buffer.writeRESPCommand(arguments)
        #expect(Array(buffer.readableBytesView) == encodedByHiredis(arguments.map { Array($0.utf8) }))
    }

    @Test("gives the bytes that hiredis gives for arguments of any bytes and lengths")
    func anyBytes() {
        var random = SeededGenerator(seed: 11)
        var buffer = ByteBuffer()
        for _ in 0..<500 {
            let arguments = (0..<Int.random(in: 1...120, using: &random)).map { _ in
                (0..<Int.random(in: 0...130, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
            buffer.clear()
            buffer.writeRESPArray(count: arguments.count)
            for argument in arguments { buffer.writeRESPBulk(argument) }
            #expect(Array(buffer.readableBytesView) == encodedByHiredis(arguments))
        }
    }

    @Test(
        "writes a number as hiredis writes its decimal text",
        arguments: [0, 1, 9, 10, 19, 20, 99, 100, 65_536, 1_000_000, 1_000_000_000_000, .max, -1, -9, -10, .min])
    func decimal(_ value: Int) {
        var buffer = ByteBuffer()
        buffer.writeRESPArray(count: 1)
        buffer.writeRESPBulk(decimal: value)
        #expect(Array(buffer.readableBytesView) == encodedByHiredis([Array(String(value).utf8)]))
    }
}
