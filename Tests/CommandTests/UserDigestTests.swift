import RateLimitCore
import Testing

@testable import llm_rate_limit

@Suite("A user in the log")
struct UserDigestTests {
    @Test(
        "has the digest that sha256sum gives for its text, in either case",
        arguments: [
            ("6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11", "face9c0f49b4675b"),
            ("00000000-0000-0000-0000-000000000000", "12b9377cbe7e5c94"),
            ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "13984ab878f91502"),
            ("6f1c0a52-3f0e-4c7e-9b61-000000000032", "04db72860b1eee8b"), ("alice@example.com", "ff8d9819fc0e12bf"),
        ])
    func digest(_ text: String, _ digest: String) {
        #expect(SubjectID(text)?.digest == digest)
    }
}
