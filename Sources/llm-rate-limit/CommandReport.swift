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

extension CommandReport {
    /// One sentence on the standard output, on as many lines as it needs.
    init(wrapping text: String, exitCode: ExitCode = .success) {
        self.init(output: wrapped(text, indentation: 2), exitCode: exitCode)
    }
}

/// A text as lines of at most 80 columns, broken between words; a word that is longer has a line of its own.
///
/// - Parameters:
///   - start: what stands before it on the first line.
///   - indentation: how many spaces stand before each further line.
func wrapped(_ text: String, after start: String = "", indentation: Int) -> [String] {
    var lines: [String] = []
    var line = start
    var isEmpty = true
    for word in text.split(separator: " ") {
        if !isEmpty, line.count + 1 + word.count > 80 {
            lines.append(line)
            line = String(repeating: " ", count: indentation)
            isEmpty = true
        }
        line += isEmpty ? word : " \(word)"
        isEmpty = false
    }
    return lines + [line]
}

/// A user's or group's text as a terminal may have it: C0 and C1 controls and DEL as `\u001b`. In a JSON text it is the same.
func printable(_ line: String) -> String {
    func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (scalar.value >= 0x7f && scalar.value < 0xa0)
    }
    guard line.unicodeScalars.contains(where: isControl) else { return line }
    return line.unicodeScalars.reduce(into: "") { text, scalar in
        guard isControl(scalar) else { return text.unicodeScalars.append(scalar) }
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
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
