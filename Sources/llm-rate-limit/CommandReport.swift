import ArgumentParser

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

extension ExitCode {
    /// Denied or unhealthy: the daemon's answer, not an error.
    static let denied = ExitCode(1)
    /// The question could not be asked or answered.
    static let failedRequest = ExitCode(2)
    /// EX_CONFIG of sysexits.h: the configuration cannot be used.
    static let badConfiguration = ExitCode(78)
}

/// What a command has to say in the end.
struct CommandReport: Equatable {
    /// Lines for the standard output.
    var output: [String] = []
    /// Lines for the standard error.
    var errors: [String] = []
    var exitCode = ExitCode.success

    /// Prints everything and leaves with the exit code, unless it is that of success.
    func deliver() throws(ExitCode) {
        for line in errors { printError(line) }
        for line in output { print(line) }
        guard exitCode == .success else { throw exitCode }
    }
}

/// Writes a line to the standard error.
func printError(_ line: String) {
    var rest = Array("\(line)\n".utf8)[...]
    while !rest.isEmpty {
        let written = rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        guard written > 0 else { return }
        rest = rest.dropFirst(written)
    }
}
