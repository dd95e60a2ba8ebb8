import Glibc

/// The number of a group given by name or number.
///
/// Asks the system's group database, which may block (LDAP), and so belongs in the start alone.
func groupIdentifier(_ group: String) throws(ListenerError) -> gid_t {
    // The number with all bits set means "leave it" to chown.
    if let number = gid_t(group), number != gid_t.max { return number }
    guard !group.isEmpty else { throw .unknownGroup(group) }
    var entry = Glibc.group()
    var found: UnsafeMutablePointer<Glibc.group>?
    var capacity = 1_024
    // A group with thousands of members needs a large buffer; a MiB is far beyond any.
    while capacity <= 1 << 20 {
        var buffer = [CChar](repeating: 0, count: capacity)
        switch getgrnam_r(group, &entry, &buffer, buffer.count, &found) {
        case 0:
            // Only the number is read, and it lies in `entry`, not in the buffer that ends here.
            guard found != nil else { throw .unknownGroup(group) }
            return entry.gr_gid
        case ERANGE:
            capacity *= 4
        case EINTR:
            continue
        default:
            throw .unknownGroup(group)
        }
    }
    throw .unknownGroup(group)
}
