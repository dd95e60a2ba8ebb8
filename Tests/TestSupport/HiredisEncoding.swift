import CHiredis

/// The command as hiredis itself encodes it.
package func encodedByHiredis(_ arguments: [[UInt8]]) -> [UInt8] {
    var target: UnsafeMutablePointer<CChar>?
    let copies = arguments.map { argument in
        let copy = UnsafeMutableRawPointer.allocate(byteCount: max(1, argument.count), alignment: 1)
        copy.copyMemory(from: argument, byteCount: argument.count)
        return copy
    }
    defer { for copy in copies { copy.deallocate() } }
    var pointers = copies.map { UnsafePointer($0.assumingMemoryBound(to: CChar.self)) as UnsafePointer<CChar>? }
    let lengths = arguments.map(\.count)
    let length = Int(redisFormatCommandArgv(&target, CInt(arguments.count), &pointers, lengths))
    defer { redisFreeCommand(target) }
    guard length > 0, let target else { return [] }
    return Array(UnsafeRawBufferPointer(start: target, count: length))
}
