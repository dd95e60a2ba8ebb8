import NIOCore
import RedisClient
import Testing

@testable import RateLimitService

@Suite("Whether decisions are being made")
struct EnforcementStateTests {
    private var state = EnforcementState()
    private static let words = "OOM command not allowed when used memory > 'maxmemory'."

    private func at(_ milliseconds: Int64) -> NIODeadline { .uptimeNanoseconds(1) + .milliseconds(milliseconds) }

    private mutating func refuse(
        _ milliseconds: Int64, heartbeat: Bool = false, by server: String? = nil
    ) -> EnforcementState.Transition? {
        state.refused(by: server, Self.words, on: .checks, isHeartbeat: heartbeat, at: at(milliseconds))
    }

    private mutating func decide(_ milliseconds: Int64, by server: String? = nil) -> EnforcementState.Transition? {
        state.decidedHeartbeat(by: server, at: at(milliseconds))
    }

    private let begun = EnforcementState.Transition.begun(server: nil, path: .checks, words: words)

    private func over(_ milliseconds: Int64) -> EnforcementState.Transition {
        .over(server: nil, milliseconds: milliseconds, isGone: false)
    }

    @Test("A thousand refusals begin one episode, and the second heartbeat that is decided behind them ends it")
    mutating func episode() {
        #expect(state.isEnforcing && state.refusal == nil)
        #expect(refuse(0) == begun)
        for millisecond in 1..<1_000 { #expect(refuse(Int64(millisecond)) == nil) }
        #expect(refuse(1_000, heartbeat: true) == nil)
        #expect(!state.isEnforcing && state.refusal?.words == Self.words)
        #expect(decide(2_000) == nil && !state.isEnforcing)
        #expect(decide(3_000) == over(3_000) && state.isEnforcing)
        #expect(decide(4_000) == nil)
    }

    @Test("What no heartbeat meets holds for ten seconds behind the last refusal")
    mutating func unseen() {
        #expect(refuse(0) == begun)
        for second in 1...7 { #expect(decide(Int64(second) * 1_000) == nil) }
        #expect(refuse(7_500) == nil)
        for second in 8...17 { #expect(decide(Int64(second) * 1_000) == nil) }
        #expect(decide(17_500) == over(17_500))
    }

    @Test("Refusals that come and go with the seconds are two episodes at most, not one each time")
    mutating func flicker() {
        var told = 0
        for second in 0..<60 {
            let isFull = second % 3 == 0
            let transition = isFull ? refuse(Int64(second) * 1_000, heartbeat: true) : decide(Int64(second) * 1_000)
            if transition != nil { told += 1 }
        }
        #expect(told <= 3, "begun, over, begun again and held")
        #expect(!state.isEnforcing)
    }

    @Test("An episode a minute after the last one is as short as the first")
    mutating func later() {
        _ = refuse(0, heartbeat: true)
        #expect(decide(1_500) == over(1_500))
        #expect(refuse(70_000, heartbeat: true) == begun)
        #expect(decide(71_500) == over(1_500))
    }

    @Test("Without a heartbeat nothing is over, however long ago the refusal was")
    mutating func silence() {
        _ = refuse(0, heartbeat: true)
        #expect(!state.isEnforcing)
        #expect(decide(86_400_000) == over(86_400_000))
    }

    @Test("Each master of a cluster has its own, and one that is none any more takes its own with it")
    mutating func cluster() {
        for name in ["a:1", "b:2"] {
            #expect(
                refuse(0, heartbeat: true, by: name) == .begun(server: name, path: .checks, words: Self.words))
        }
        _ = refuse(0, by: nil)
        #expect(decide(2_000, by: "a:1") == .over(server: "a:1", milliseconds: 2_000, isGone: false))
        #expect(!state.isRefusing("a:1") && state.isRefusing("b:2") && !state.isEnforcing)
        #expect(state.keep(["a:1"], at: at(3_000)) == [.over(server: "b:2", milliseconds: 3_000, isGone: true)])
        #expect(state.isRefusing(nil), "what the cluster as a whole refuses is nobody's own")
        #expect(state.keep(["a:1"], at: at(3_000)) == [])
    }
}

@Suite("What an error says of whom it concerns")
struct RedisRefusalTests {
    /// Of Redis 6.2, 7.0 and 7.2 and of Valkey, as a command's error and as a script's.
    @Test(
        "everybody, whatever the version that refuses",
        arguments: [
            ("OOM command not allowed when used memory > 'maxmemory'.", "OOM command not"),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 30e2, on @user_script:1.",
                "OOM command not"
            ),
            (
                "ERR Error running script (call to f_30e2): @user_script:41: @user_script: 41: -OOM command not allowed "
                    + "when used memory > 'maxmemory'.", "OOM command not"
            ),
            ("@user_script: 41: -OOM command not allowed when used memory > 'maxmemory'.", "OOM command not"),
            ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable", "MISCONF Redis is"),
            ("MISCONF Valkey is configured to save RDB snapshots, but it's currently unable", "MISCONF Valkey is"),
            ("MISCONF Errors writing to the AOF file: No space left on device", "MISCONF Errors"),
            ("NOREPLICAS Not enough good replicas to write. script: 30e2, on @user_script:1.", "NOREPLICAS Not"),
            ("NOPERM this user has no permissions to run the 'evalsha' command", "NOPERM this user"),
            ("NOPERM User l has no permissions to run the 'set' command script: 1, on @user_script:9.", "NOPERM U"),
            ("NOPERM No permissions to access a key script: 30e2, on @user_script:96.", "NOPERM No permissions"),
            (
                "ERR The user executing the script can't run this command or subcommand script: 30e2, on "
                    + "@user_script:29.", "ERR The user executing"
            ),
            ("@user_script: 29: The user executing the script can't access at least one of the keys", "@user_script"),
            (
                "ERR Error running script (call to f_30e2): @user_script:1: @user_script: 1: Unknown Redis command "
                    + "called from Lua script", "ERR Error running"
            ),
            ("ERR Unknown Redis command called from script script: 30e2, on @user_script:29.", "ERR Unknown Redis"),
            ("ERR unknown command 'EVAL', with args beginning with: 'local a'", "ERR unknown command 'EVAL'"),
            ("ERR unknown command `EVALSHA`, with args beginning with: `30e2`, `1`", "ERR unknown command `EVALSHA`"),
            ("READONLY You can't write against a read only replica.", "READONLY"),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "MASTERDOWN"),
            ("LOADING Redis is loading the dataset in memory", "LOADING"),
            ("LOADING Valkey is loading the dataset in memory", "LOADING"),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "BUSY"),
            ("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT"),
            ("NOAUTH Authentication required.", "NOAUTH"),
            ("ERR syntax error", "ERR syntax error"),
            ("ERR the calendar periods are past", "ERR the calendar"),
            ("ERR the calendar periods are to come", "ERR the calendar"),
            ("something that no version says today", "something that"),
        ])
    func everybody(error: String, words: String) {
        let refusal = RedisRefusal(error)
        #expect(refusal.scope == .server)
        #expect(refusal.words.hasPrefix(words))
        #expect(!refusal.words.contains("script: 30e2") && !refusal.words.contains("with args"))
    }

    @Test(
        "one key alone: a broken one does not say that nobody is decided about",
        arguments: [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 30e2, on @user_script:1.",
            "ERR Error running script (call to f_30e2): @user_script:1: WRONGTYPE Operation against a key",
            "ERR the value is not a rate limit window", "ERR too many limits under one key",
            "ERR ERR the value is not a rate limit window script: 30e2, on @user_script:1.",
        ])
    func oneKey(error: String) { #expect(RedisRefusal(error).scope == .key) }

    @Test(
        "perhaps one key alone: what a script could not go on from",
        arguments: [
            "user_script:87: bad argument #2 to 'unpack' (data string too short)",
            "ERR user_script:1: bad argument #2 to 'unpack' (data string too short) script: 30e2, on @user_script:1.",
            "ERR Error running script (call to f_30e2): @user_script:1: user_script:1: attempt to compare nil with number",
        ])
    func script(error: String) { #expect(RedisRefusal(error).scope == .script) }

    @Test("a cluster as a whole: one that is down")
    func cluster() { #expect(RedisRefusal("CLUSTERDOWN The cluster is down").scope == .cluster) }

    @Test("Words are bounded, and an error without any is one")
    func bounds() {
        #expect(RedisRefusal("ERR " + String(repeating: "x", count: 100_000)).words.count == RedisRefusal.longestWords)
        for error in ["", " ", "\r\n", " script: ", "@user_script:"] { _ = RedisRefusal(error) }
    }
}

@Suite("A heartbeat")
struct HeartbeatTests {
    @Test("tries every command that a decision may need")
    func commands() throws {
        func called(_ text: String, _ pattern: Regex<(Substring, Substring)>) -> Set<Substring> {
            Set(text.matches(of: pattern).map(\.1))
        }
        let tried = called(HeartbeatScript.text, /(?:call|try)\('([A-Z]+)'/)
        let needed = called(DecisionScript.text, /(?:call|try)\('([A-Z]+)'/)
        #expect(needed.count >= 15, "the pattern finds them")
        #expect(needed.subtracting(tried) == [])
        // Those that a check needs are tried where there is no limits file: those on strings.
        let checks = Set(needed.filter { !$0.hasPrefix("H") && !$0.hasPrefix("Z") && $0 != "RENAME" })
        #expect(checks.count >= 8, "\(checks)")
        let parts = HeartbeatScript.text.split(separator: "if ARGV[2] == 'calls' then", maxSplits: 1)
        #expect(checks.subtracting(called(String(parts[0]), /(?:call|try)\('([A-Z]+)'/)) == [])
    }

    @Test("has keys in the slots of the master that it asks, which nobody else has, and finds them for one slot")
    func keys() throws {
        for number in [0, 1, 8_191, 16_383] {
            let slot = try #require(HashSlot(number))
            let keys = try #require(HeartbeatKeys(prefix: "llm-rate", in: { $0 == slot }))
            for key in keys.written + keys.tried + keys.budgets + [keys.latest] {
                #expect(HashSlot(key: key.utf8) == slot, "\(key)")
                #expect(key.contains(":heartbeat:"))
            }
            #expect(Set(keys.written + keys.tried + keys.budgets + [keys.latest]).count == 11)
            #expect(keys.are(in: { $0 == slot }) && !keys.are(in: { $0 != slot }))
            #expect(keys.global == nil)
        }
        #expect(HeartbeatKeys(prefix: "llm-rate", in: { _ in false }) == nil, "a master without slots: the search ends")
        let global = HashSlot(key: "llm-rate:global".utf8)
        #expect(HeartbeatKeys(prefix: "llm-rate", in: { $0 == global })?.global == "llm-rate:global")
    }

    @Test("on the only server is on keys like those of users, groups and all")
    func single() {
        let keys = HeartbeatKeys(prefix: "p")
        #expect(keys.windows == ["p:user:~:heartbeat:0", "p:group:~:heartbeat:0", "p:global:heartbeat:0"])
        #expect(keys.check == "p:check:heartbeat:0" && keys.global == "p:global")
    }
}
