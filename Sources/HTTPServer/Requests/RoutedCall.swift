import RateLimitService

/// A call, and whether its answer is to list every limit.
struct RoutedCall: Hashable {
    var request: CallRequest
    var isVerbose = false
}
