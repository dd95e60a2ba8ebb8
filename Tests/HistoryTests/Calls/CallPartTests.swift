import FaultInjection
import Foundation
import HistoryChecker
import RedisClient
import TestSupport
import Testing

@Suite("Calls over several slots")
struct CallPartTests {
    private let split = CallParts(isSplit: true, name: "part")

    private func call(
        _ action: CallOperation.Action, _ outcome: CallOperation.Outcome, id: String? = nil, used: Int? = nil,
        isDenied: Bool = false
    ) -> CallOperation {
        let standing = used.map { CallOperation.Standing(quota: 5, used: $0, isDenied: isDenied) }
        return CallOperation(
            action, id: id, terms: [CallOperation.Term(window: 0, cost: 1, standing: standing)], startMicroseconds: 0,
            endMicroseconds: 10_000, outcome: outcome)
    }

    /// How many can be used so much later, as looks find it.
    private func possible(_ calls: [CallOperation], milliseconds: Int, window: Int = 1_000) -> [Int] {
        let contract = CallContract(windows: [.sliding(microseconds: 1_000 * window)], toleranceMicroseconds: 0)
        return (0...2).filter { used in
            let term = CallOperation.Term(
                window: 0, cost: 0, standing: CallOperation.Standing(quota: 5, used: used))
            let look = CallOperation(
                .look, terms: [term], startMicroseconds: 1_000 * milliseconds,
                endMicroseconds: 1_000 * milliseconds + 100, outcome: .done)
            return CallHistoryChecker(contract).offences(of: calls + [look]).isEmpty
        }
    }

    @Test("A call in one slot is as it was")
    func whole() {
        let calls = [call(.check, .done, used: 1), call(.settle, .repeated, id: "a")]
        for call in calls { #expect(CallParts(isSplit: false, name: "part").parts(of: call) == [call]) }
    }

    @Test("An admitted check is in the window for its length; five seconds at most where it is never settled")
    func admitted() {
        var parts = split.parts(of: call(.check, .done, used: 1))
        #expect(possible(parts, milliseconds: 500) == [1])
        #expect(possible(parts, milliseconds: 2_000) == [0, 1])
        // When its settlement was over is known later.
        parts[1].endMicroseconds = 3_000_000
        #expect(possible(parts, milliseconds: 500) == [1])
        #expect(possible(parts, milliseconds: 5_500) == [0])
        #expect(possible(parts, milliseconds: 6_000, window: 10_000) == [0, 1])
    }

    @Test("Where another slot denied, it may be held until it is released or lapses; its own denial does nothing")
    func denied() {
        let elsewhere = split.parts(of: call(.check, .denied, used: 1))
        #expect(elsewhere.allSatisfy { $0.terms.allSatisfy { $0.standing == nil } })
        #expect(possible(elsewhere, milliseconds: 4_000) == [0, 1])
        #expect(possible(elsewhere, milliseconds: 5_500) == [0])
        let here = call(.check, .denied, used: 5, isDenied: true)
        #expect(split.parts(of: here) == [here])
        let reserve = split.parts(of: call(.reserve(microseconds: 300_000), .denied, used: 1))
        #expect(possible(reserve, milliseconds: 200) == [0, 1])
        #expect(possible(reserve, milliseconds: 400) == [0])
    }

    @Test("What another slot denied is given back at any time: a number without it is as right as one with it")
    func givenBack() {
        func asked(_ start: Int, used: Int) -> CallOperation {
            let standing = CallOperation.Standing(quota: 5, used: used)
            return CallOperation(
                .reserve(microseconds: 900_000), id: "id \(start)",
                terms: [CallOperation.Term(window: 0, cost: 1, standing: standing)], startMicroseconds: 1_000 * start,
                endMicroseconds: 1_000 * start + 100, outcome: .done)
        }
        let contract = CallContract(windows: [.sliding(microseconds: 1_000_000)], toleranceMicroseconds: 0)
        var elsewhere = split.parts(of: call(.reserve(microseconds: 800_000), .denied, used: 1))
        for index in elsewhere.indices { elsewhere[index].endMicroseconds = 300_000 }
        let history = elsewhere + [asked(20, used: 2), asked(40, used: 2)]
        guard case .consistent = CallHistoryChecker(contract).verdict(of: history) else {
            Issue.record("given back between the two")
            return
        }
        let never = elsewhere + [asked(20, used: 1), asked(40, used: 1)]
        guard case .violation = CallHistoryChecker(contract).verdict(of: never) else {
            Issue.record("nothing gives the first one back")
            return
        }
    }

    @Test("A lease that one slot says to be dealt with may have been charged in another; one that is settled is in all")
    func ended() {
        let repeated = split.parts(of: call(.settle, .repeated, id: "a"))
        #expect(possible(repeated, milliseconds: 500) == [0, 1])
        let settled = split.parts(of: call(.settle, .done, id: "a"))
        #expect(possible(settled, milliseconds: 500) == [1])
    }

    @Test("The harness's slots are the client's")
    func slots() {
        for key in ["", "a", "{", "{}", "{}a", "a{b}c", "a{b}{c}", "a{{b}", newUser(), "chaos-calls:global"] {
            #expect(HashSlots.slot(of: key) == HashSlot(key: Array(key.utf8)).number, "\(key)")
        }
    }

    @Test("In the zone of the calendars it is about noon")
    func noon() throws {
        for hour in 0..<24 {
            let date = Date(timeIntervalSince1970: 1_700_000_000 + 3_600 * Double(hour))
            var calendar = Calendar(identifier: .gregorian)
            calendar.timeZone = try #require(TimeZone(identifier: CallLimits.zone(at: date)))
            #expect(calendar.component(.hour, from: date) == 12)
        }
    }

    @Test("The windows of a user, a team, a tenant and all are under the keys by which their slots are known")
    func keys() throws {
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        let file = try folder.write(CallLimits.file(), to: "limits.yaml")
        let daemon = try Daemon(
            redis: redis.unrestrictedURL, ["LIMITS_FILE": file, "GROUPS": "given", "KEY_PREFIX": "chaos"])
        let user = newUser()
        let team = newUser()
        let tenant = newUser()
        let members = #""user":"\#(user)","groups":["\#(team)"],"labels":{"tenant":"\#(tenant)"}"#
        let body = #"{\#(members),"model":"model0","output_tokens":1}"#
        #expect(try daemon.connect().request("POST", "/v1/check", body: body).status == 200)
        let keys = [
            CallLimits.Kind.user.key(of: user, prefix: "chaos"), CallLimits.Kind.team.key(of: team, prefix: "chaos"),
            CallLimits.Kind.tenant.key(of: tenant, prefix: "chaos"), CallLimits.Kind.all.key(of: "", prefix: "chaos"),
        ]
        #expect(Set(try redis.keys(prefix: "chaos")).isSuperset(of: keys))
    }
}
