#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The users who may connect to the Unix sockets, as they were written and by their numbers.
public struct AllowedUsers: Sendable, Equatable, CustomStringConvertible {
    /// How many users can be named.
    public static let maximum = 64

    /// The users' numbers.
    public let numbers: Set<UInt32>
    /// The names and numbers as they were written, with commas between them.
    public let description: String

    /// Reads names and numbers with commas between them.
    ///
    /// A name is looked up here, once: the system's user database may block (LDAP).
    init(_ text: String) throws(ValueRejection) {
        let names = text.split(separator: ",", omittingEmptySubsequences: false)
        guard (1...Self.maximum).contains(names.count) else { throw ValueRejection("it names \(names.count) users") }
        var numbers: Set<UInt32> = []
        for name in names { numbers.insert(try Self.number(of: name)) }
        self.numbers = numbers
        description = text
    }

    private static func number(of name: Substring) throws(ValueRejection) -> UInt32 {
        // The number with all bits set stands for "no user" in the kernel's calls.
        if let number = decimalNumber(name, in: 0...Int(UInt32.max) - 1) { return UInt32(number) }
        let isName = (1...32).contains(name.utf8.count) && name.utf8.allSatisfy { isWordByte($0) }
        guard isName, !name.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { throw ValueRejection() }
        guard let number = userNumber(String(name)) else { throw ValueRejection("there is no user \(name)") }
        return number
    }
}

/// The number of a user who is known by name; nil where there is none.
private func userNumber(_ name: String) -> UInt32? {
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    var capacity = 1_024
    // A MiB is far beyond any user's entry.
    while capacity <= 1 << 20 {
        var buffer = [CChar](repeating: 0, count: capacity)
        switch getpwnam_r(name, &entry, &buffer, buffer.count, &found) {
        // Only the number is read, and it lies in `entry`, not in the buffer that ends here.
        case 0: return found == nil ? nil : entry.pw_uid
        case ERANGE: capacity *= 4
        case EINTR: continue
        default: return nil
        }
    }
    return nil
}
