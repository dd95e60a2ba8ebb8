import RateLimitCore
import RateLimitService

/// The methods that Envoy calls.
enum EnvoyMethods {
    /// Those of one event loop.
    ///
    /// - Parameters:
    ///   - callers: who calls, where headers and the peer alone tell it.
    ///   - limitName: what the limit of checks is called.
    static func make(
        _ engine: CheckEngine, callers: CallerRules, limitName: String
    ) -> [(path: String, method: any UnaryMethod)] {
        [
            (ShouldRateLimitMethod.path, ShouldRateLimitMethod(engine: engine)),
            (
                AuthorizationCheckMethod.path,
                AuthorizationCheckMethod(engine: engine, callers: callers, limitName: limitName)
            ),
        ]
    }
}
