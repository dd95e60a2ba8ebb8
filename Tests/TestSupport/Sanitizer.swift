import Glibc

/// What `scripts/test --sanitize` tells the tests.
package enum Sanitizer {
    /// What the sanitizers read, for the programs that tests start: their reports go where the script looks for them.
    package static let variables: [String: String] = {
        var variables: [String: String] = [:]
        for name in ["ASAN_OPTIONS", "TSAN_OPTIONS", "SWIFT_BACKTRACE"] {
            if let value = getenv(name) { variables[name] = String(cString: value) }
        }
        return variables
    }()

    /// Whether the tests and the daemons are built with one.
    package static let isOn = getenv("LLM_RATE_LIMIT_TEST_SANITIZER") != nil
}
