import Testing

@testable import llm_rate_limit

@Suite("Secrets among the arguments")
struct ProcessSecretsTests {
    @Test(
        "are masked behind their flag, in it, and where a URL with a login stands by mistake",
        arguments: [
            ("redis://u:s3cret@h:1/2", "--redis-url", "redis://***@h:1/2"),
            ("--redis-url=redis://:s3cret@h", "serve", "--redis-url=redis://***@h"),
            ("s3cret", "--redis-url", "***"), ("--redis-url=s3cret", "serve", "--redis-url=***"),
            ("redis://u:s3cret@h", "serve", "redis://***@h"), ("--redis-ulr=redis://u:s3cret@h", "serve", "***"),
        ])
    func masked(argument: String, previous: String, shown: String) {
        #expect(ProcessSecrets.masked(argument, behind: previous) == shown)
    }

    @Test(
        "leave everything else as it is",
        arguments: ["serve", "--redis-url", "--requests=20", "/run/a.sock", "http://localhost/v1/check", "a@b", ""])
    func others(argument: String) {
        #expect(ProcessSecrets.masked(argument, behind: "serve") == argument)
    }
}
