import RateLimitCore
import Testing

@testable import HTTPServer

@Suite("The parameters of a query")
struct QueryParametersTests {
    private typealias Parameter = QueryParameters.Parameter

    private func read(_ query: String) -> [Parameter] { Array(QueryParameters(Array(query.utf8))) }

    @Test("are names and values between ampersands, in their order and as often as they stand")
    func pairs() {
        #expect(
            read("a=1&b=2&a=3") == [
                Parameter(name: "a", value: "1"), Parameter(name: "b", value: "2"), Parameter(name: "a", value: "3"),
            ])
        #expect(read("a=b=c") == [Parameter(name: "a", value: "b=c")])
        #expect(read("a") == [Parameter(name: "a", value: "")] && read("a=") == read("a"))
        #expect(read("") == [])
        #expect(read("a=1&&b=2").map(\.name) == ["a", "", "b"] && read("a=1&").count == 1)
        #expect(read("=5") == [Parameter(name: "", value: "5")])
    }

    @Test("have their percent-encoding resolved, once, and a blank for each plus sign")
    func encoding() {
        #expect(read("us%65r=a%40b%2Bc+d%20e") == [Parameter(name: "user", value: "a@b+c d e")])
        #expect(read("a=%2541&b=%26%3d") == [Parameter(name: "a", value: "%41"), Parameter(name: "b", value: "&=")])
        #expect(read("a=%CE%b1α") == [Parameter(name: "a", value: "αα")])
    }

    @Test(
        "have no value where it is encoded wrongly or no UTF-8, and are left out where the name is",
        arguments: ["%", "%4", "%zz", "x%", "%ff", "%c3", "%+1"])
    func wrong(_ text: String) {
        #expect(read("a=\(text)&b=1") == [Parameter(name: "a", value: nil), Parameter(name: "b", value: "1")])
        #expect(read("\(text)=1&b=1") == [Parameter(name: "b", value: "1")])
    }
}

@Suite("A segment of a path")
struct PathSegmentTests {
    private func user(_ segment: String) -> Result<SubjectID, RequestError> {
        result { () throws(RequestError) in try PathSegment.user(segment[...]) }
    }

    @Test(
        "is a text with its percent-encoding resolved, once, in which a plus sign stands for itself",
        arguments: [
            ("alice", "alice"), ("a%2Fb", "a/b"), ("a+b", "a+b"), ("%2B", "+"), ("%2541", "%41"), ("α%CE%b1", "αα"),
            ("%00", "\0"), (someText.uppercased(), someText),
        ])
    func texts(_ segment: String, _ text: String) throws {
        #expect(user(segment) == .success(try #require(SubjectID(text))))
        #expect(try PathSegment.group(segment[...]) == SubjectID(text))
    }

    @Test("is refused where it is encoded wrongly, empty, no UTF-8 or longer than 256 bytes")
    func refused() throws {
        for segment in ["", "%", "%4", "a%zz", "%ff", String(repeating: "x", count: 257)] {
            #expect(user(segment) == .failure(.invalidUser), "\(segment)")
            #expect(throws: RequestError.invalidGroup) { try PathSegment.group(segment[...]) }
        }
        // It is the text that counts, not how it is written.
        #expect(try user(String(repeating: "%41", count: 256)).get().text.utf8.count == 256)
    }
}
