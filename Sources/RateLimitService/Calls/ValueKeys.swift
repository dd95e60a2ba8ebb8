import RateLimitCore

extension WindowOwner {
    /// The key of an owner's windows, of those that are of these values where there are any: `{<the owner's key>}:by:model=gpt-4o`,
    /// in the owner's slot; of those that all share `<prefix>:by:label:tenant=acme`, in a slot of its own.
    func key(prefix: String, of values: WindowValues?) -> String {
        guard let values else { return key(prefix: prefix) }
        switch self {
        case .user, .group: return "{\(key(prefix: prefix))}:by:\(values.text)"
        case .global: return "\(prefix):by:\(values.text)"
        }
    }
}
