import TestSupport
import Testing

@testable import RateLimitCore

@Suite("A user or group that is any text")
struct SubjectTextTests {
    static let texts = [
        "a", "alice@example.com", "tenant/αβγ", "sixteen bytes 16", "seventeen bytes17", "x\u{0}", "x\u{0}\u{0}", " ",
        String(repeating: "k", count: 256), "global", "group:x", "user:x", "{a}",
        "~" + String(repeating: "0", count: 64),
        "%41", "A", "\n", "\u{1b}[2J", "\"}", "e\u{301}", "é", "😀",
    ]

    @Test("keeps its bytes, however long it is", arguments: texts)
    func keepsBytes(_ text: String) throws {
        let id = try #require(SubjectID(text))
        #expect(Array(id.text.utf8) == Array(text.utf8))
        #expect(id.withText { Array($0) } == Array(text.utf8))
        #expect(!id.isUUID)
        #expect(SubjectID(text) == id && SubjectID(text)?.hashValue == id.hashValue)
    }

    @Test("is another one where a byte differs, in Unicode's equal forms too")
    func distinct() throws {
        let ids = try Self.texts.map { try #require(SubjectID($0)) }
        #expect(Set(ids).count == Self.texts.count)
        let uuid = try #require(SubjectID("01234567-89ab-cdef-0123-456789abcdef"))
        // The same bits, as a text of 16 bytes.
        let sixteen = withUnsafeBytes(of: (uuid.high & 0x7f7f_7f7f_7f7f_7f7f, uuid.low & 0x7f7f_7f7f_7f7f_7f7f)) {
            SubjectID($0)
        }
        let text = try #require(sixteen)
        #expect(text != SubjectID(high: text.high, low: text.low))
    }

    @Test("has 1 to 256 bytes of UTF-8")
    func bounds() {
        #expect(SubjectID("") == nil)
        #expect(SubjectID(String(repeating: "a", count: 257)) == nil)
        #expect(SubjectID(String(repeating: "é", count: 128)) != nil)
        #expect(SubjectID(String(repeating: "é", count: 128) + "a") == nil)
        for bytes: [UInt8] in [
            [0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x61, 0x80],
        ] {
            #expect(bytes.withUnsafeBytes { SubjectID($0) } == nil, "\(bytes)")
        }
    }

    @Test(
        "is called in a key as Limits says",
        arguments: [
            ("01234567-89AB-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"),
            ("alice@example.com", "user:alice@example.com"), ("a.b_c+d=e,f/g:h-i", "user:a.b_c+d=e,f/g:h-i"),
            ("tenant/αβγ", "user:tenant/%CE%B1%CE%B2%CE%B3"), ("%41", "user:%2541"), ("~", "user:%7E"),
            ("{a}", "user:%7Ba%7D"), ("a b\n", "user:a%20b%0A"), ("global", "user:global"), ("user:x", "user:user:x"),
            (String(repeating: "k", count: 128), "user:" + String(repeating: "k", count: 128)),
            (
                String(repeating: "k", count: 129),
                "user:~9094034fb2d0ce2e407c9b260f2806ab2efb352e200722fd6296d9cf1cf7e6f5"
            ),
        ])
    func keyNames(_ text: String, _ name: String) throws {
        let id = try #require(SubjectID(text))
        #expect(id.keyName(of: .user) == name)
        let group = name.hasPrefix("user:") ? "group:" + name.dropFirst(5) : "group:" + name
        #expect(id.keyName(of: .group) == group)
    }

    @Test("is hashed in a key where it is longer than 128 bytes encoded, and not before")
    func hashed() throws {
        #expect(try #require(SubjectID(String(repeating: "é", count: 21))).keyName(of: .user).utf8.count == 5 + 126)
        let name = try #require(SubjectID(String(repeating: "é", count: 22))).keyName(of: .user)
        #expect(name.hasPrefix("user:~") && name.utf8.count == 5 + 65)
        #expect(!(try #require(SubjectID(String(repeating: "~", count: 42))).keyName(of: .user).contains("~")))
    }

    @Test("is read back from its encoded form, and from no other")
    func encoded() throws {
        for text in Self.texts + ["01234567-89ab-cdef-0123-456789abcdef"] {
            let id = try #require(SubjectID(text))
            #expect(id.encoded.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x7b && $0 != 0x7d && $0 != 0x7e })
            #expect(SubjectID(encoded: id.encoded) == id)
            #expect("\(id)" == id.encoded)
        }
        for wrong in ["", "%", "%4", "%41", "%ce%b1", "%+1", "% 1", "a b", "~", "%FF", "{a}", "é"] {
            #expect(SubjectID(encoded: wrong) == nil, "\(wrong)")
        }
        #expect(SubjectID(encoded: "01234567-89AB-cdef-0123-456789abcdef") == nil, "in lower case alone")
    }

    @Test("of up to 16 bytes, and a UUID, hold no reference")
    func inline() throws {
        for text in ["a", "sixteen bytes 16", "01234567-89ab-cdef-0123-456789abcdef"] {
            let isLong = if case .long = try #require(SubjectID(text)).form { true } else { false }
            #expect(!isLong)
        }
        #expect(MemoryLayout<SubjectID>.size <= 25)
    }

    @Test("has the SHA-256 of its text")
    func digest() throws {
        let hash = try #require(SubjectID("abc")).sha256
        let known: [UInt8] = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03,
            0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ]
        #expect(hash == known)
    }
}
