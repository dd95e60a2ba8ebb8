/// How a batch came to where it is sent: straight, or after a node of a cluster did not take it.
struct ScriptRoute {
    /// To the server that is known to have the key.
    static let direct = ScriptRoute()

    /// How often its requests have been sent before; they certainly did not run.
    var attempts: UInt8 = 0
    /// Whether the node takes this one batch for a slot that is still another's.
    var isAsking = false
}
