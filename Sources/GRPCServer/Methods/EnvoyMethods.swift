import RateLimitCore
import RateLimitService

/// The methods that Envoy calls.
enum EnvoyMethods {
    /// Those of one event loop.
    ///
    /// - Parameters:
    ///   - callers: who calls, where headers and the peer alone tell it.
    ///   - quotaHeaders: which headers of an authorization say how a quota stands.
    ///   - limitName: what the limit of checks is called.
    static func make(
        _ engine: CheckEngine, callers: CallerRules, quotaHeaders: QuotaHeaders, limitName: String
    ) -> [(path: String, method: any UnaryMethod)] {
        let authorization = AuthorizationCheckMethod(engine: engine, callers: callers, limitName: limitName)
        authorization.quotaHeaders = quotaHeaders
        return [
            (ShouldRateLimitMethod.path, ShouldRateLimitMethod(engine: engine)),
            (AuthorizationCheckMethod.path, authorization),
        ]
    }
}
