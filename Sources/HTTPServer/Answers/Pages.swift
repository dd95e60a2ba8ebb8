import Glibc
import NIOCore
import RateLimitService

/// The pages for probes and operators.
enum Pages {
    private static let startedAt = NIODeadline.now()

    /// Starts the clock of the uptime.
    static func begin() { _ = startedAt }

    /// The answer to one of the routes that need nothing but the state at hand.
    static func answer(
        _ request: RoutedRequest, state: RedisHealth.State, isDraining: Bool, pages: ServerPages
    ) -> Answer {
        switch request {
        case .ready where isDraining:
            return .problem(.serviceUnavailable, "The daemon is stopping.", headers: [("Retry-After", "1")])
        case .ready(let requiresRedis) where requiresRedis && !state.isEnforcing:
            return .problem(.serviceUnavailable, refusal(state), headers: [("Retry-After", "1")])
        case .ready:
            return .json("{\"status\":\"ready\",\"degraded\":\(!state.isEnforcing)}")
        case .health: return .json(health(state, isDraining: isDraining, pages))
        case .configuration: return Answer(status: .ok, body: pages.configuration())
        case .version: return .json("{\"name\":\"llm-rate-limit\",\"version\":\(jsonText(pages.version))}")
        case .openAPI: return Answer(status: .ok, body: pages.openAPI)
        case .alive, .check, .userStatus, .reset, .metrics, .admin, .call, .authorize:
            return .json("{\"status\":\"alive\"}")
        }
    }

    private static func refusal(_ state: RedisHealth.State) -> String {
        let detail = state.detail ?? ""
        let end = detail.hasSuffix(".") ? "" : "."
        return "Redis \(state.isRefusing ? "refuses to decide" : "is away"): \(detail)\(end)"
    }

    private static func health(_ state: RedisHealth.State, isDraining: Bool, _ pages: ServerPages) -> String {
        let status = isDraining ? "draining" : state.isEnforcing ? "ok" : "degraded"
        let uptime = (NIODeadline.now() - startedAt).nanoseconds / 1_000_000_000
        let reason = state.reason.map { jsonText($0.rawValue) } ?? "null"
        let detail = state.detail.map { jsonText($0) } ?? "null"
        let redis = state.isEnforcing ? "available" : state.isRefusing ? "refusing" : "away"
        let since = state.notEnforcingSince.map { "\($0)" } ?? "null"
        return "{\"status\":\"\(status)\","
            + "\"redis\":{\"state\":\"\(redis)\",\"links\":\(state.links),"
            + "\"available_links\":\(state.available),\"reason\":\(reason),\"detail\":\(detail)},"
            + "\"enforcing\":\(state.isEnforcing),\"not_enforcing_since\":\(since),"
            + "\"configuration\":\(pages.configurationState()),"
            + "\"version\":\(jsonText(pages.version)),\"uptime_seconds\":\(uptime),\"pid\":\(getpid())}"
    }
}
