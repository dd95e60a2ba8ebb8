import TestSupport
import Testing

@testable import RedisClient

extension ReplyReader {
    func feed(_ bytes: [UInt8]) throws(ReplyFault) {
        let fed = bytes.withUnsafeBytes { bytes in Result { () throws(ReplyFault) in try feed(bytes) } }
        try fed.get()
    }

    func feed(_ text: String) throws(ReplyFault) { try feed(Array(text.utf8)) }

    /// All replies that are there, in words.
    func all() throws(ReplyFault) -> [String] {
        var replies: [String] = []
        while let reply = try next() { replies.append(describe(reply)) }
        return replies
    }
}

/// A reply in words: each element by its RESP letter.
func describe(_ reply: Reply) -> String {
    let words = reply.elements.map { element in
        switch element {
        case .integer(let value): ":\(value)"
        case .bulk: "$\(reply.text(of: element) ?? "")"
        case .status: "+\(reply.text(of: element) ?? "")"
        case .error: "-\(reply.text(of: element) ?? "")"
        case .null: "_"
        case .array(let count): "*\(count)"
        }
    }
    return words.joined(separator: " ")
}

/// The fault of reading `bytes`, where there is one.
func fault(of bytes: [UInt8]) -> ReplyFault? {
    let reader = ReplyReader()
    do throws(ReplyFault) {
        try reader.feed(bytes)
        _ = try reader.all()
        return nil
    } catch {
        return error
    }
}

@Suite("A reply reader")
struct ReplyReaderTests {
    static let replies: [(bytes: String, words: String)] = [
        ("+OK\r\n", "+OK"),
        ("+\r\n", "+"),
        ("-ERR no such thing\r\n", "-ERR no such thing"),
        (":0\r\n", ":0"),
        (":-1\r\n", ":-1"),
        (":9223372036854775807\r\n", ":9223372036854775807"),
        ("$0\r\n\r\n", "$"),
        ("$5\r\nhello\r\n", "$hello"),
        ("$4\r\n\r\n\r\n\r\n", "$\r\n\r\n"),
        ("$-1\r\n", "_"),
        ("*0\r\n", "*0"),
        ("*-1\r\n", "_"),
        ("*3\r\n:1\r\n$1\r\na\r\n+OK\r\n", "*3 :1 $a +OK"),
        ("*2\r\n*2\r\n:1\r\n:2\r\n*1\r\n*0\r\n", "*2 *2 :1 :2 *1 *0"),
        ("*3\r\n:0\r\n-WRONGTYPE bad\r\n:5\r\n", "*3 :0 -WRONGTYPE bad :5"),
        ("*2\r\n$-1\r\n*-1\r\n", "*2 _ _"),
        (
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:7\r\n",
            "*1 *1 *1 *1 *1 *1 *1 :7"
        ),
    ]

    @Test("reads every kind of reply", arguments: replies)
    func kinds(_ bytes: String, _ words: String) throws {
        let reader = ReplyReader()
        try reader.feed(bytes)
        #expect(try reader.all() == [words])
    }

    @Test("reads a reply that is cut at any byte", arguments: replies)
    func cut(_ bytes: String, _ words: String) throws {
        let bytes = Array(bytes.utf8)
        for cut in 1..<bytes.count {
            let reader = ReplyReader()
            try reader.feed(Array(bytes[..<cut]))
            #expect(try reader.all() == [], "cut at \(cut)")
            try reader.feed(Array(bytes[cut...]))
            #expect(try reader.all() == [words], "cut at \(cut)")
        }
    }

    @Test("reads replies that come byte by byte")
    func byteByByte() throws {
        let reader = ReplyReader()
        var words: [String] = []
        for byte in Self.replies.flatMap({ Array($0.bytes.utf8) }) {
            try reader.feed([byte])
            words += try reader.all()
        }
        #expect(words == Self.replies.map(\.words))
    }

    @Test("reads several replies of one feed, and the rest with the next")
    func several() throws {
        let reader = ReplyReader()
        try reader.feed(Self.replies.map(\.bytes).joined() + "$5\r\nhel")
        #expect(try reader.all() == Self.replies.map(\.words))
        try reader.feed("lo\r\n:1\r\n")
        #expect(try reader.all() == ["$hello", ":1"])
    }

    @Test("tells an error that is the whole reply from one inside an array")
    func errorText() throws {
        let reader = ReplyReader()
        try reader.feed("-NOSCRIPT x\r\n*1\r\n-ERR y\r\n+OK\r\n")
        #expect(try reader.next()?.errorText == "NOSCRIPT x")
        #expect(try reader.next()?.errorText == nil)
        #expect(try reader.next()?.errorText == nil)
    }

    @Test(
        "refuses bytes that are no reply",
        arguments: [
            "?\r\n", "HTTP/1.1 400 Bad Request\r\n", "\r\n", ":abc\r\n", ":1x\r\n", "$abc\r\n", "$-2\r\n", "*abc\r\n",
            "*-2\r\n", "*2147483648\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            "*2\r\n:1\r\n?\r\n", "%1\r\n+a\r\n+b\r\n",
        ])
    func malformed(_ text: String) {
        guard case .malformed(let reason)? = fault(of: Array(text.utf8)) else {
            Issue.record("not refused as malformed")
            return
        }
        #expect(!reason.isEmpty)
    }

    @Test("stays at its fault, whatever comes afterwards")
    func faultStays() throws {
        let reader = ReplyReader()
        try reader.feed("?\r\n")
        #expect(throws: ReplyFault.self) { try reader.next() }
        #expect(throws: ReplyFault.self) {
            try reader.feed("+OK\r\n")
            _ = try reader.next()
        }
    }

    @Test("never crashes on random bytes")
    func randomBytes() {
        var random = SeededGenerator(seed: 5)
        let letters = Array("+-:$*0123456789\r\n\r\n\r\nab".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 1...40, using: &random)).map { _ in
                letters.randomElement(using: &random) ?? 0
            }
            if case .malformed(let reason)? = fault(of: bytes) { #expect(!reason.isEmpty) }
        }
    }

    @Test("refuses an array of more elements than the bound, before any of them", arguments: [65_537, 2_147_483_647])
    func hugeArray(_ count: Int) {
        #expect(fault(of: Array("*\(count)\r\n".utf8)) == .tooLarge)
        #expect(fault(of: Array("*1\r\n*\(count)\r\n".utf8)) == .tooLarge)
    }

    @Test("takes an array of as many elements as the bound")
    func largestArray() throws {
        let reader = ReplyReader()
        try reader.feed("*65536\r\n")
        for _ in 0..<64 { try reader.feed(String(repeating: ":1\r\n", count: 1024)) }
        #expect(try reader.next()?.elements.count == 65_537)
    }

    @Test("refuses nested arrays that come to more elements than the bound")
    func manyNested() {
        let inner = "*1000\r\n" + String(repeating: ":1\r\n", count: 1000)
        #expect(throws: ReplyFault.tooLarge) {
            let reader = ReplyReader()
            try reader.feed("*1000\r\n")
            for _ in 0..<100 {
                try reader.feed(inner)
                _ = try reader.all()
            }
        }
    }
}

@Suite("The memory of a reply reader")
struct ReplyReaderMemoryTests {
    private let chunk = [UInt8](repeating: 0x61, count: 65_536)

    @Test("a string above the bound is refused while it arrives")
    func longString() {
        var fed = 0
        #expect(throws: ReplyFault.tooLarge) {
            let reader = ReplyReader()
            try reader.feed("$2000000000\r\n")
            while fed < 4 << 20 {
                try reader.feed(chunk)
                fed += chunk.count
                _ = try reader.all()
            }
        }
        #expect(fed <= ReplyReader.maximumReplyBytes + chunk.count)
    }

    @Test("a line without end is refused while it arrives")
    func longLine() {
        var fed = 0
        #expect(throws: ReplyFault.tooLarge) {
            let reader = ReplyReader()
            try reader.feed("+")
            while fed < 4 << 20 {
                try reader.feed(chunk)
                fed += chunk.count
                _ = try reader.all()
            }
        }
        #expect(fed <= ReplyReader.maximumReplyBytes + chunk.count)
    }

    @Test("an array whose strings come to more than the bound is refused while it arrives")
    func longArray() {
        var fed = 0
        #expect(throws: ReplyFault.tooLarge) {
            let reader = ReplyReader()
            try reader.feed("*1000\r\n")
            while fed < 4 << 20 {
                try reader.feed("$65536\r\n")
                try reader.feed(chunk)
                try reader.feed("\r\n")
                fed += chunk.count
                _ = try reader.all()
            }
        }
        #expect(fed <= ReplyReader.maximumReplyBytes + chunk.count)
    }

    @Test("a string of just the bound is taken")
    func longestString() throws {
        let reader = ReplyReader()
        let length = ReplyReader.maximumReplyBytes - 16
        try reader.feed("$\(length)\r\n")
        for start in stride(from: 0, to: length, by: chunk.count) {
            try reader.feed(Array(chunk.prefix(length - start)))
            #expect(try reader.next() == nil)
        }
        try reader.feed("\r\n")
        #expect(try reader.next()?.bytes.count == length)
    }

    @Test("is used again for each of 100,000 replies")
    func reuse() throws {
        let reader = ReplyReader()
        let reply = Array("*7\r\n:0\r\n:1\r\n:3600000\r\n:0\r\n:2\r\n:3600000\r\n$5\r\nhello\r\n".utf8)
        var homes: Set<UnsafeRawPointer> = []
        var capacities: Set<Int> = []
        for _ in 0..<100_000 {
            try reader.feed(reply)
            while let reply = try reader.next() {
                reply.elements.withUnsafeBytes { bytes in
                    if let home = bytes.baseAddress { homes.insert(home) }
                }
                capacities.insert(reply.elements.capacity)
                #expect(reply.elements.count == 8)
            }
        }
        // The first reply may still make it grow.
        #expect(homes.count <= 2)
        #expect(capacities.count <= 2)
    }
}
