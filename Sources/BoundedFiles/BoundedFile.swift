#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The content of a regular file that was read up to a bound.
package struct BoundedFile {
    /// What the file holds.
    package let bytes: [UInt8]
    /// Whether users outside the file's owner and group may read it.
    package let isReadableByEveryone: Bool

    /// Why a file's content cannot be used; the text is the reason alone.
    package enum Problem: Error, Equatable, CustomStringConvertible {
        case system(code: Int32)
        case notARegularFile
        case tooLong(maximumBytes: Int)

        package var description: String {
            switch self {
            case .system(let code): String(cString: strerror(code))
            case .notARegularFile: "it is not a regular file"
            case .tooLong(let maximumBytes): "it is longer than \(maximumBytes / 1024) KiB"
            }
        }
    }

    /// Reads a whole file of at most `maximumBytes`.
    package init(path: String, maximumBytes: Int) throws(Problem) {
        // A named pipe would block open() until somebody writes; with O_NONBLOCK fstat can refuse it.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .system(code: errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(code: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .notARegularFile }
        isReadableByEveryone = status.st_mode & S_IROTH != 0
        bytes = try Self.readAll(descriptor, maximumBytes: maximumBytes)
    }

    /// Whether users outside a file's owner and group may read it.
    package static func isReadableByEveryone(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IROTH != 0
    }

    private static func readAll(_ descriptor: Int32, maximumBytes: Int) throws(Problem) -> [UInt8] {
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while content.count <= maximumBytes {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0 {
                guard errno == EINTR else { throw .system(code: errno) }
                continue
            }
            if count == 0 { return content }
            content += chunk[..<count]
        }
        throw .tooLong(maximumBytes: maximumBytes)
    }
}

/// A text without the byte order mark (EF BB BF) that some editors put before it, and which is no part of it.
package func withoutByteOrderMark(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
    bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
}
