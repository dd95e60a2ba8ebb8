import NIOCore
import NIOHTTP1
import RateLimitCore
import RateLimitService

/// What a gateway asks at `/v1/auth`: whether a call of whoever the headers name may go on.
struct AuthorizationRequest: Equatable {
    /// The call, or why nobody can be named.
    var call: Result<CallRequest, CallerProblem>
    var denial: DenialForm
}

/// How a gateway wants to be told that a call may not go on.
enum DenialForm: Hashable {
    /// By the status that says why, with a body.
    case tooManyRequests
    /// By 403 without a body, for those that take nothing else.
    case forbidden

    /// The segment of the path that asks for 403.
    static let forbiddenSegment = "deny-403"
}

extension RouteMatch {
    /// Reads headers, the peer, and the segments of the path that are options: the query and the rest of the path are the
    /// client's, who must choose nothing.
    func authorize() throws(RequestError) -> RoutedRequest {
        let options = segments.dropFirst(pattern.segments.count)
        let denial: DenialForm = options.first == DenialForm.forbiddenSegment[...] ? .forbidden : .tooManyRequests
        do throws(CallerProblem) {
            return .authorize(AuthorizationRequest(call: .success(try authorizedCall()), denial: denial))
        } catch {
            return .authorize(AuthorizationRequest(call: .failure(error), denial: denial))
        }
    }

    private func authorizedCall() throws(CallerProblem) -> CallRequest {
        let headers = request.headers
        let values = { (name: HeaderName) in headers[name.description] }
        let caller = try request.callers.caller(at: request.peer, values)
        let attributes = try request.callers.attributes(
            labelNames: request.limits.set.labelNames, readsGroups: request.limits.groupsAreGiven,
            limits: request.limits.set, values)
        // A header that the gateway does not set is the client's, who must not pass for free.
        let operation = CallRequest.Operation(checkWithID: try request.callers.callID(values))
        return CallRequest(user: caller, operation: operation, attributes: attributes)
    }
}

extension ConnectionPeer {
    /// The one at an address as NIO has it; whoever has no IP address is on a Unix socket.
    init(_ address: SocketAddress?) {
        self = address?.ipAddress.flatMap { IPAddress($0) }.map { .address($0) } ?? .unixSocket
    }
}
