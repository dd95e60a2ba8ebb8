/// The paths of methods, as bytes at addresses that stay: the library's callbacks look a path up without a class.
struct MethodPaths {
    private struct Path {
        var bytes: UnsafeMutablePointer<UInt8>
        var length: Int
    }

    private let paths: UnsafeMutableBufferPointer<Path>

    init(_ texts: [String]) {
        paths = .allocate(capacity: texts.count)
        for (index, text) in texts.enumerated() {
            let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(text.utf8.count, 1))
            _ = bytes.initialize(from: text.utf8)
            guard let start = bytes.baseAddress else { preconditionFailure("there is room for a byte") }
            paths.initializeElement(at: index, to: Path(bytes: start, length: text.utf8.count))
        }
    }

    /// Which path these bytes are; -1 for none.
    func index(of bytes: UnsafePointer<UInt8>, length: Int) -> Int {
        for (index, path) in paths.enumerated()
        where path.length == length && areEqual(path.bytes, bytes, count: length) {
            return index
        }
        return -1
    }

    /// Gives the memory back.
    func end() {
        for path in paths { path.bytes.deallocate() }
        paths.deallocate()
    }
}
