import Testing

@testable import LoadGenerator

@Suite("Calls of Envoy's rate limit service")
struct RateLimitServiceRequestTests {
    @Test("are frames whose streams and users are put in")
    func request() throws {
        let template = RequestTemplate.shouldRateLimit
        let headers = Int(template.bytes[2]) + 9
        #expect(template.bytes[3] == 1 && template.bytes[headers + 3] == 0)
        #expect(template.streamOffsets == [5, headers + 5])
        #expect(template.bytes.count == headers + 9 + Int(template.bytes[headers + 2]))
        let user = try #require(template.userOffset)
        #expect(user == template.bytes.count - Users.textLength)
        #expect(template.preface.starts(with: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8))
    }

    @Test("are answered by frames of data, and broken off by resets")
    func answers() {
        func scan(_ bytes: [UInt8]) -> ScannedAnswer { bytes.withUnsafeBufferPointer(scanFrame) }
        let data: [UInt8] = [0, 0, 7, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0x08]
        #expect(scan(data + [1]) == .answer(length: 16, outcome: .allowed))
        #expect(scan(data + [2, 9]) == .answer(length: 16, outcome: .denied))
        #expect(scan(data) == .incomplete && scan(Array(data.prefix(8))) == .incomplete)
        #expect(scan([0, 0, 1, 1, 5, 0, 0, 0, 3, 0xbf]) == .passing(length: 10))
        #expect(scan([0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 2]) == .malformed)
    }
}
