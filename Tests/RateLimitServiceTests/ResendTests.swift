import Testing

@testable import RateLimitService

@Suite("Sending checks a second time")
struct ResendTests {
    @Test(
        "happens where the error says that EVALSHA did not run",
        arguments: [
            "NOSCRIPT No matching script. Please use EVAL.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOPERM User limited has no permissions to run the 'evalsha' command",
            "ERR unknown command 'EVALSHA', with args beginning with: '30e2'",
        ])
    func nothingRan(_ error: String) {
        #expect(EvalshaUse.saysNothingRan(error))
    }

    @Test("does not happen where a replica refuses: that is told from other errors")
    func replica() {
        for error in [
            "READONLY You can't write against a read only replica.",
            "READONLY You can't write against a read only replica. script: 30e2, on @user_script:118.",
            "ERR Error running script (call to f_30e2): @user_script:118: -READONLY You can't write against a read only",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        ] {
            #expect(ScriptLane.isOfReplica(error) && !EvalshaUse.saysNothingRan(error))
        }
        #expect(!ScriptLane.isOfReplica("NOREPLICAS Not enough good replicas to write."))
        #expect(!ScriptLane.isOfReplica("OOM command not allowed when used memory > 'maxmemory'."))
    }

    @Test(
        "does not happen where some of a batch may have been charged",
        arguments: [
            "NOPERM User limited has no permissions to run the 'setrange' command script: 30e2, on @user_script:96.",
            "ERR The user executing the script can't run this command or subcommand script: 30e2, on @user_script:29.",
            "ERR Unknown Redis command called from script script: 30e2, on @user_script:29.",
            "OOM command not allowed when used memory > 'maxmemory'.", "BUSY Redis is busy running a script.",
        ])
    func mayHaveRun(_ error: String) {
        #expect(!EvalshaUse.saysNothingRan(error))
    }
}
