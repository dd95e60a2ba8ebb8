import TestSupport
import Testing

@testable import RateLimitCore

@Suite("A user's UUID")
struct SubjectUUIDTests {
    private static let text = "01234567-89ab-cdef-0123-456789abcdef"

    @Test(
        "is read from the canonical text and written back in lower case",
        arguments: [
            (text, UInt64(0x0123_4567_89ab_cdef), UInt64(0x0123_4567_89ab_cdef)),
            ("00000000-0000-0000-0000-000000000000", 0, 0),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", .max, .max),
            ("fedcba98-7654-3210-0f1e-2d3c4b5a6978", 0xfedc_ba98_7654_3210, 0x0f1e_2d3c_4b5a_6978),
            ("6f9619ff-8b86-d011-b42d-00cf4fc964ff", 0x6f96_19ff_8b86_d011, 0xb42d_00cf_4fc9_64ff),
        ])
    func canonical(_ text: String, _ high: UInt64, _ low: UInt64) throws {
        let user = try #require(SubjectID(text))
        #expect(user == SubjectID(high: high, low: low))
        #expect("\(user)" == text)
        #expect(SubjectID(text.uppercased()) == user)
    }

    @Test("is the same user in any mixture of cases")
    func mixedCase() {
        #expect(SubjectID("AbCdEf01-2345-6789-aBcD-eF0123456789") == SubjectID("abcdef01-2345-6789-abcd-ef0123456789"))
    }

    @Test("is refused with a character that is no digit, in each position")
    func badCharacters() {
        let characters = Array("/:@G`g{ \0-\n".utf8) + [0x80, 0xb0, 0xff, 0x10, 0x50]
        for position in 0..<36 where ![8, 13, 18, 23].contains(position) {
            for character in characters {
                var bytes = Array(Self.text.utf8)
                bytes[position] = character
                #expect(bytes.withUnsafeBytes { SubjectID(uuid: $0) } == nil, "\(character) at \(position)")
            }
        }
    }

    @Test("is refused with anything but a hyphen where the hyphens stand")
    func badHyphens() {
        for position in [8, 13, 18, 23] {
            for character in UInt8.min ... .max where character != 0x2d {
                var bytes = Array(Self.text.utf8)
                bytes[position] = character
                #expect(bytes.withUnsafeBytes { SubjectID(uuid: $0) } == nil, "\(character) at \(position)")
            }
        }
    }

    @Test("is read with a digit of either case, in each position, and nothing else of 256 bytes")
    func everyByte() {
        let digits = Set("0123456789abcdefABCDEF".utf8)
        for character in UInt8.min ... .max {
            var bytes = Array(Self.text.utf8)
            bytes[35] = character
            #expect(
                (bytes.withUnsafeBytes { SubjectID(uuid: $0) } != nil) == digits.contains(character), "\(character)")
        }
    }

    @Test(
        "is none at any other length or in another form",
        arguments: [
            "", "0", "01234567-89ab-cdef-0123-456789abcde", "01234567-89ab-cdef-0123-456789abcdef0",
            "0123456789abcdef0123456789abcdef", "{01234567-89ab-cdef-0123-456789abcdef}",
            "urn:uuid:01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef ",
            " 1234567-89ab-cdef-0123-456789abcdef", "012345678-9ab-cdef-0123-456789abcdef",
            "0123456-789ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123456789abcdef-",
            "０1234567-89ab-cdef-0123-456789abc",
        ])
    func refused(_ text: String) {
        #expect(Array(text.utf8).withUnsafeBytes { SubjectID(uuid: $0) } == nil)
        #expect(SubjectID(text)?.isUUID != true, "it is a text like any other")
    }

    @Test("survives being written and read, whatever its bits")
    func roundTrip() {
        var random = SeededGenerator(seed: 17)
        for _ in 0..<2_000 {
            let user = SubjectID(high: random.next(), low: random.next())
            #expect(SubjectID("\(user)") == user)
            var bytes = [UInt8](repeating: 0x7a, count: 38)
            bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { user.writeUUID(to: base + 1) } }
            #expect(String(decoding: bytes[1..<37], as: UTF8.self) == "\(user)")
            // Nothing before and nothing behind is touched.
            #expect(bytes[0] == 0x7a && bytes[37] == 0x7a)
        }
    }
}
