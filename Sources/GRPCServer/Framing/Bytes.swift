import Glibc

/// Whether so many bytes are the same.
@inline(__always)
func areEqual(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, count: Int) -> Bool {
    memcmp(left, right, count) == 0
}

extension StaticString {
    /// Whether these bytes are the text's.
    @inline(__always)
    func equals(_ bytes: UnsafePointer<UInt8>, length: Int) -> Bool {
        utf8CodeUnitCount == length && areEqual(utf8Start, bytes, count: length)
    }

    /// Whether these bytes begin with the text's.
    @inline(__always)
    func begins(_ bytes: UnsafePointer<UInt8>, length: Int) -> Bool {
        utf8CodeUnitCount <= length && areEqual(utf8Start, bytes, count: utf8CodeUnitCount)
    }
}
