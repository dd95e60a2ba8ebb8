import Glibc

/// A folder of its own for a test, removed with what is in it.
final class TemporaryFolder {
    let path: String

    init() {
        var template = Array("/tmp/llm-rate-limit-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            // mkdtemp writes within the template and gives it back, or nil when /tmp cannot be written.
            mkdtemp(buffer.baseAddress!).map { String(cString: $0) }!
        }
    }

    deinit {
        for name in files { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    private var files: Set<String> = []

    /// Writes a file, in place of one that may be there, and gives its path.
    func write(_ name: String, _ content: String, mode: mode_t = 0o600) -> String {
        write(name, bytes: Array(content.utf8), mode: mode)
    }

    func write(_ name: String, bytes: [UInt8], mode: mode_t = 0o600) -> String {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        precondition(descriptor >= 0, "cannot create \(file)")
        precondition(Glibc.write(descriptor, bytes, bytes.count) == bytes.count, "cannot write \(file)")
        fchmod(descriptor, mode)
        close(descriptor)
        files.insert(name)
        return file
    }
}
