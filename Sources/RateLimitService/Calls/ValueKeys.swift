import RateLimitCore

extension WindowOwner {
    /// The key of the windows of an owner that are of these values: `{<the owner's key>}:by:model=gpt-4o`, in the owner's
    /// slot; of those that all share `<prefix>:by:label:tenant=acme`, in a slot of its own.
    func key(prefix: String, of values: WindowValues) -> String {
        switch self {
        case .user, .group: "{\(key(prefix: prefix))}:by:\(values.text)"
        case .global: "\(prefix):by:\(values.text)"
        }
    }
}
