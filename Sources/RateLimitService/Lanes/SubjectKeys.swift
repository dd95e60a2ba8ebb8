import NIOCore
import RateLimitCore
import RedisClient

/// Writes the keys of whose windows a request is about, as bulk strings.
struct SubjectKeys {
    /// A key's text up to a user's UUID, and the bulk string's header that counts both: the same for each.
    private let uuidStart: [UInt8]
    /// The prefix and the colon behind it.
    private let prefix: [UInt8]

    init(prefix: String) {
        self.prefix = Array("\(prefix):".utf8)
        uuidStart = Array("$\(self.prefix.count + SubjectID.uuidLength)\r\n\(prefix):".utf8)
    }

    /// Writes the key of a plan's subject.
    func write(_ subject: PlanSubject, of caller: PlanCaller, to keys: inout ByteBuffer) {
        switch subject {
        case .user: writeUser(caller.user, to: &keys)
        case .group(let place): write(caller.groups[place], .group, to: &keys)
        case .global: write(name: "global".utf8, to: &keys)
        case .values(let place, of: let owner): write(caller.values[place], of: owner, caller, to: &keys)
        }
    }

    /// Writes the key of a descriptor's window.
    func write(_ key: DescriptorKey, to keys: inout ByteBuffer) { write(name: key.text.utf8, to: &keys) }

    /// Writes the key of windows that are of some values, as ``WindowOwner/key(prefix:of:)`` has it.
    @inline(never)
    private func write(
        _ values: WindowValues, of owner: PlanOwner, _ caller: PlanCaller, to keys: inout ByteBuffer
    ) {
        func write(ownerName name: UnsafeRawBufferPointer) {
            keys.writeString("$\(prefix.count + name.count + 6 + values.text.utf8.count)\r\n{")
            keys.writeBytes(prefix)
            keys.writeBytes(name)
            keys.writeString("}:by:\(values.text)\r\n")
        }
        switch owner {
        case .user: caller.user.withKeyName(of: .user) { write(ownerName: $0) }
        case .group(let place): caller.groups[place].withKeyName(of: .group) { write(ownerName: $0) }
        case .global: self.write(name: "by:\(values.text)".utf8, to: &keys)
        }
    }

    /// Writes the key of a user's own windows.
    @inline(__always)
    func writeUser(_ user: SubjectID, to keys: inout ByteBuffer) {
        guard user.isUUID else { return write(user, .user, to: &keys) }
        let length = uuidStart.count + SubjectID.uuidLength + 2
        keys.writeWithUnsafeMutableBytes(minimumWritableBytes: length) { target in
            guard let base = target.baseAddress else { preconditionFailure("there is room for the key") }
            uuidStart.withUnsafeBytes {
                base.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(base), byteCount: $0.count)
            }
            user.writeUUID(to: base + uuidStart.count)
            target[length - 2] = 0x0d
            target[length - 1] = 0x0a
            return length
        }
    }

    @inline(never)
    private func write(_ id: SubjectID, _ kind: SubjectID.Kind, to keys: inout ByteBuffer) {
        id.withKeyName(of: kind) { write(name: $0, to: &keys) }
    }

    private func write(name: some Collection<UInt8>, to keys: inout ByteBuffer) {
        keys.writeString("$\(prefix.count + name.count)\r\n")
        keys.writeBytes(prefix)
        keys.writeBytes(name)
        keys.writeString("\r\n")
    }
}
