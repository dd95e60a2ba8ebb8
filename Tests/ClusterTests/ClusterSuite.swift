import TestSupport
import Testing

/// Tests of the built program against a Redis Cluster: three masters with three replicas, made once for all of them.
///
/// One after the other: each leaves the cluster whole.
@Suite("Redis Cluster", .serialized, .redisCluster)
enum ClusterSuite {
    @TaskLocal static var deployment: ClusterDeployment?

    /// The cluster of this run.
    static func cluster() throws -> ClusterDeployment {
        guard let deployment else { throw TestFailure("there is no cluster") }
        return deployment
    }
}

/// Starts the cluster before the first test of a suite, and ends it behind the last.
struct ClusterTrait: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await ClusterSuite.$deployment.withValue(ClusterDeployment()) { try await function() }
    }
}

extension Trait where Self == ClusterTrait {
    static var redisCluster: Self { Self() }
}
