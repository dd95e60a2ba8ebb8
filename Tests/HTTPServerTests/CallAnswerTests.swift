import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import HTTPServer
@testable import RateLimitService

private let lease: Lease = {
    var random = SystemRandomNumberGenerator()
    return Lease(
        of: someUser, instants: .unknown, cost: 1, attributes: .none, isHeldInGroups: false, isGlobal: false,
        using: &random)
}()

private func standing(
    _ name: String, quota: Int? = 10, used: Int = 1, subject: CallSubject = .user, unit: LimitUnit = .requests,
    isCharged: Bool = false, warnAt: [Int] = [], mode: LimitMode = .enforce, softQuota: Int? = nil,
    resetAfter: Int = 1_001
) -> LimitStanding {
    let limit = LimitDefinition(
        name: LimitName(name)!, scope: .user, unit: unit, quota: quota,
        window: unit == .concurrency ? nil : .sliding(milliseconds: 60_000), mode: mode, softQuota: softQuota,
        warnAtPerMille: warnAt)
    var state = LimitState(used: used, resetAfterMilliseconds: resetAfter)
    state.isCharged = isCharged
    return LimitStanding(
        limit: limit, subject: subject, quota: Quota(amount: quota, rule: .default), state: state, period: nil)
}

extension OutcomeDetails {
    fileprivate mutating func putStandings(_ standings: [LimitStanding]) {
        var details = OutcomeDetails(standings: standings)
        (details.lease, details.leaseMilliseconds) = (lease, leaseMilliseconds)
        (details.estimate, details.ignored, details.uncounted) = (estimate, ignored, uncounted)
        self = details
    }
}

/// The status and the body of an answer, whose head says the body's length.
private func answer(
    _ operation: CallRequest.Operation, _ verdict: Outcome.Verdict = .allowed, user: SubjectID = someUser,
    isVerbose: Bool = false, _ change: (inout OutcomeDetails) -> Void = { _ in }
) -> String {
    var details = OutcomeDetails()
    change(&details)
    let call = RoutedCall(request: CallRequest(user: user, operation: operation), isVerbose: isVerbose)
    var buffer = ByteBuffer()
    let writer = AnswerWriter(limitName: "requests")
    // What an earlier answer left in the writer is none of the next one's.
    writer.write(Outcome(.deniedForGood, source: .redis).with(details), AnswerForm(), to: &buffer)
    buffer.clear()
    writer.write(Outcome(verdict, source: .redis).with(details), as: AnswerTopic(call), AnswerForm(), to: &buffer)
    let lines = withoutDate(buffer.readableBytesView).components("\r\n")
    let body = lines.last ?? ""
    #expect(lines.contains("Content-Length: \(body.utf8.count)"))
    return "\(lines[0].dropFirst(9)) \(body)"
}

@Suite("The answer about a call")
struct CallAnswerTests {
    private static let other = SubjectID("alice \"x\"")!

    @Test("says what was charged, released or renewed, as its route has it")
    func done() {
        let settle = CallRequest.Operation.settle(lease)
        #expect(answer(settle) == #"200 OK {"charged":false}"#)
        #expect(answer(settle) { $0.putStandings([standing("a", isCharged: true)]) } == #"200 OK {"charged":true}"#)
        #expect(answer(settle, .repeated) == #"200 OK {"charged":false,"repeated":true}"#)
        #expect(answer(settle, .tooLate) == #"200 OK {"charged":false,"too_late":true}"#)
        #expect(answer(.usage(id: []), .repeated) == #"200 OK {"charged":false,"repeated":true}"#)
        let check = CallRequest.Operation.checkOnce(id: [1])
        #expect(answer(check, .repeated).hasPrefix(#"200 OK {"allowed":true,"#))
        #expect(answer(check, .repeated).hasSuffix(#","degraded":false,"repeated":true}"#))
        #expect(answer(check).hasSuffix(#","degraded":false}"#))
        #expect(answer(.release(lease)) == #"200 OK {"released":true}"#)
        #expect(answer(.release(lease), .repeated) == #"200 OK {"released":false}"#)
        let renewed = answer(.renew(lease, milliseconds: 30_000)) {
            $0.lease = lease
            $0.leaseMilliseconds = 30_000
        }
        #expect(renewed == #"200 OK {"lease":"\#(lease.text)","expires_in":30}"#)
        #expect(answer(.renew(lease, milliseconds: 1)) == "200 OK {}")
        for verdict in [Outcome.Verdict.unknownLease, .tooLate] {
            #expect(answer(.release(lease), verdict).hasPrefix("404 Not Found {\"title\":"))
        }
        #expect(answer(settle, .unknownLease).hasPrefix("404 Not Found {\"title\":"))
    }

    @Test("names the owner of a lease that is somebody else's, and what was not counted, warned of and passed over")
    func remarks() {
        let text = answer(.settle(lease), user: Self.other) {
            $0.uncounted = [Uncounted(.spend, because: .noModel), Uncounted(.tokens(.input), because: .unknownModel)]
            $0.putStandings([
                standing("a", used: 9, warnAt: [7, 50, 900]), standing("b", used: 1, warnAt: [7, 50]),
                standing("c", used: 10, warnAt: [1_000]), standing("d", quota: 1_000, used: 8, warnAt: [7]),
            ])
            $0.ignored = [IgnoredMember(.model, "a \"b\""), IgnoredMember(.cacheReadTokens, "c\n\u{85}")]
        }
        let expected =
            #"200 OK {"charged":false,"user":"\#(someText)","uncounted":[{"unit":"spend","reason":"no_model"},"#
            + #"{"unit":"tokens.input","reason":"unknown_model"}],"warnings":[{"limit_name":"a","share":0.900},"#
            + #"{"limit_name":"b","share":0.050},{"limit_name":"c","share":1},{"limit_name":"d","share":0.007}],"#
            + #""ignored":[{"member":"model","reason":"a \"b\""},"#
            + #"{"member":"cache_read_input_tokens","reason":"c\n\u0085"}]}"#
        #expect(text == expected)
    }

    @Test("to a reservation has its lease and its estimate behind the members of a check's")
    func reserved() {
        let operation = CallRequest.Operation.reserve(milliseconds: 60_000)
        let start =
            #"200 OK {"allowed":true,"limit_name":"a","limit":10,"remaining":9,"retry_after":0,"reset_after":2,"#
            + #""degraded":false,"lease":"\#(lease.text)","expires_in":60,"estimate":"#
        func reserved(_ estimate: CallEstimate) -> String {
            answer(operation) {
                $0.putStandings([standing("a")])
                $0.lease = lease
                $0.leaseMilliseconds = 60_000
                $0.estimate = estimate
            }
        }
        let tokens = TokenUsage(input: 1, output: 2, cacheRead: 3, cacheWrite: 4)
        let counts =
            #""input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_write_input_tokens":4"#
        #expect(reserved(CallEstimate(.none)) == start + #"{"source":"none"}}"#)
        #expect(reserved(CallEstimate(.given, tokens: tokens)) == start + #"{"source":"given",\#(counts)}}"#)
        #expect(
            reserved(CallEstimate(.learnedFromUser, costMicros: 7))
                == start + #"{"source":"learned","learned_from":"user","cost_micros":7}}"#)
        #expect(
            reserved(CallEstimate(.learnedFromModel, tokens: tokens, costMicros: 7))
                == start + #"{"source":"learned","learned_from":"model",\#(counts),"cost_micros":7}}"#)
    }

    @Test("that is verbose lists every limit last, and a look at a user's usage lists them first")
    func verbose() {
        func change(_ details: inout OutcomeDetails) {
            details.putStandings([standing("a"), standing("b", quota: nil)])
            details.ignored = [IgnoredMember(.groups, "x")]
        }
        let ignored = #""ignored":[{"member":"groups","reason":"x"}]"#
        let settled = answer(.settle(lease), isVerbose: true, change)
        #expect(settled.hasPrefix(#"200 OK {"charged":false,\#(ignored),"limits":[{"name":"a","per":"user","unit":"#))
        #expect(settled.contains(#"},{"name":"b","#) && settled.hasSuffix("}]}"))
        let look = answer(.look, user: Self.other, change)
        #expect(look.hasPrefix(#"200 OK {"user":"alice \"x\"","limits":[{"name":"a","#))
        #expect(look.hasSuffix("}],\(ignored)}"))
        #expect(answer(.look) == #"200 OK {"user":"\#(someText)","limits":[]}"#)
    }

    /// The field and the member that say which limits are over.
    private func over(_ operation: CallRequest.Operation, _ verdict: Outcome.Verdict, _ standings: [LimitStanding])
        -> [String]
    {
        let call = RoutedCall(request: CallRequest(user: someUser, operation: operation))
        let details = OutcomeDetails(standings: standings, decider: verdict == .allowed ? nil : 0)
        var buffer = ByteBuffer()
        AnswerWriter(limitName: "requests").write(
            Outcome(verdict, source: .redis).with(details), as: AnswerTopic(call), AnswerForm(), to: &buffer)
        let lines = withoutDate(buffer.readableBytesView).components("\r\n")
        let body = lines.last ?? ""
        #expect(lines.contains("Content-Length: \(body.utf8.count)"))
        let member = body.ranges(of: #""over":["#).first.map { body[$0.lowerBound...].prefix { $0 != "]" } + "]" }
        return lines.filter { $0.hasPrefix("X-Rate-Limit-Over") } + (member.map { [String($0)] } ?? [])
    }

    @Test("names in a member and in a field the limits that count more than their soft line, each once, and no others")
    func soft() {
        let standings = [
            standing("hard", used: 10), standing("shadow", used: 11, mode: .shadow),
            standing("line", used: 5, softQuota: 5), standing("two", used: 6, softQuota: 5),
            standing("soft", used: 11, mode: .soft), standing("two", used: 7, subject: .global, softQuota: 5),
            standing("at", used: 10, mode: .soft), standing("free", quota: nil, used: 11, mode: .soft),
        ]
        let expected = ["X-Rate-Limit-Over: two, soft", #""over":["two","soft"]"#]
        #expect(over(.check, .allowed, standings) == expected)
        #expect(over(.reserve(milliseconds: 1_000), .allowed, standings) == expected)
        #expect(over(.check, .denied(retryAfterMilliseconds: 5_000), standings) == expected)
        #expect(over(.settle(lease), .allowed, standings) == expected)
        #expect(over(.usage(id: []), .allowed, standings) == expected)
        #expect(over(.check, .allowed, Array(standings.prefix(3))) == [])
    }

    @Test("shows of a limit in full its mode and soft line, and whether it is over")
    func softInFull() {
        let look = answer(.look) {
            $0.putStandings([
                standing("two", used: 6, softQuota: 5), standing("one", used: 5, softQuota: 5),
                standing("soft", used: 11, mode: .soft),
            ])
        }
        #expect(look.contains(#""mode":"enforce","denied":false,"soft_limit":5,"over":true},{"name":"one""#))
        #expect(look.contains(#""mode":"enforce","denied":false,"soft_limit":5},{"name":"soft""#))
        #expect(look.hasSuffix(#""mode":"soft","denied":false,"over":true}]}"#))
    }

    @Test("is a problem where Redis cannot be asked")
    func unavailable() {
        let call = RoutedCall(request: CallRequest(user: someUser, operation: .settle(lease)))
        var buffer = ByteBuffer()
        let outcome = Outcome(.refused, source: .failureMode, degradedReason: .redisTimeout)
        AnswerWriter(limitName: "requests").write(outcome, as: AnswerTopic(call), AnswerForm(), to: &buffer)
        let text = withoutDate(buffer.readableBytesView)
        #expect(text.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n") && text.contains("\r\nRetry-After: 1\r\n"))
    }

    @Test("grows as long as what it tells")
    func long() {
        let reasons = (0..<300).map { IgnoredMember(.labels, String(repeating: "\u{1}", count: $0)) }
        let text = answer(.usage(id: [])) { $0.ignored = reasons }
        #expect(text.utf8.count > 300 * 299 / 2 * 6 && text.hasSuffix("\"}]}"))
        #expect(answer(.usage(id: [])) == #"200 OK {"charged":false}"#)
    }
}

@Suite("The fields of many limits, against their plainest form")
struct PlainFieldTests {
    /// One standing for each limit that is announced, by the rule of `RateLimitFields`.
    private func announced(_ standings: [LimitStanding], _ decider: LimitStanding?) -> [LimitStanding] {
        var announced: [LimitStanding] = []
        for standing in standings
        where standing.limit.denies && standing.quota.amount != nil
            && [.requests, .concurrency].contains(standing.limit.unit)
        {
            if let place = announced.firstIndex(where: { $0.limit.name == standing.limit.name }) {
                let other = announced[place]
                if other != decider, standing == decider || standing.hasLessLeft(than: other) {
                    announced[place] = standing
                }
            } else {
                announced.append(standing)
            }
        }
        return announced
    }

    @Test("are the same for any limits of any groups")
    func plain() {
        var random = SeededGenerator(seed: 10)
        for _ in 0..<3_000 {
            var standings: [LimitStanding] = []
            for place in 0..<Int.random(in: 0...6, using: &random) {
                let unit: LimitUnit = [.requests, .requests, .concurrency, .spend].randomElement(using: &random)!
                // A soft limit is none of concurrency.
                let modes: [LimitMode] = unit == .concurrency ? [.enforce, .shadow] : [.enforce, .shadow, .soft]
                let isEnforced = Int.random(in: 0...4, using: &random) > 0
                standings.append(
                    standing(
                        "l\(Int.random(in: 0...2, using: &random))\(unit.text.first!)",
                        quota: Int.random(in: 0...9, using: &random) == 0 ? nil : Int.random(in: 1...9, using: &random),
                        used: Int.random(in: 0...9, using: &random),
                        subject: .group(SubjectID(high: 0, low: UInt64(place))), unit: unit,
                        mode: isEnforced ? .enforce : modes.randomElement(using: &random)!))
            }
            let isDenied = Bool.random(using: &random)
            let place = isDenied ? standings.indices.randomElement(using: &random) : nil
            let details = OutcomeDetails(standings: standings, decider: place)
            let wait = isDenied && Bool.random(using: &random) ? 7 : nil
            let decider = place.map { standings[$0] }
            let all = announced(standings, decider)
            var expected = ""
            if !all.isEmpty {
                let policies = all.map { standing in
                    let unit = standing.limit.unit == .concurrency ? ";qu=\"concurrent-requests\"" : ";w=60"
                    return "\"\(standing.limit.name)\";q=\(standing.quota.amount ?? 0)\(unit)"
                }
                expected = "RateLimit-Policy: \(policies.joined(separator: ", "))\r\n"
                let binding = isDenied ? decider : all.min { $0.hasLessLeft(than: $1) }
                if let binding, announced([binding], nil).count == 1 {
                    let time = wait.map { ";t=\($0)" } ?? ""
                    expected += "RateLimit: \"\(binding.limit.name)\";r=\(binding.remaining ?? 0)\(time)\r\n"
                }
            }
            var writer = ByteWriter()
            RateLimitFields.write(.ietf, about: details, isDenied: isDenied, wait: wait, to: &writer)
            let text = String(decoding: writer.bytes, as: UTF8.self)
            #expect(text == expected)
        }
    }
}

@Suite("A writer of bytes")
struct ByteWriterTests {
    @Test("escapes of a text what JSON wants escaped, and what a terminal takes for a control")
    func json() {
        var random = SeededGenerator(seed: 4)
        let characters = "aé\u{80}\u{85}\u{9f}\u{a0}Â\"\\/\n\r\t\0\u{1f}\u{7f}😀\u{c2}".unicodeScalars.map { $0 }
        for _ in 0..<2_000 {
            var text = ""
            for _ in 0..<Int.random(in: 0...12, using: &random) {
                text.unicodeScalars.append(characters.randomElement(using: &random)!)
            }
            var expected = "\""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": expected += "\\\""
                case "\\": expected += "\\\\"
                case "\n": expected += "\\n"
                case "\r": expected += "\\r"
                case "\t": expected += "\\t"
                case _ where scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value):
                    let digits = String(scalar.value, radix: 16)
                    expected += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                default: expected.unicodeScalars.append(scalar)
                }
            }
            #expect(Array(jsonText(text).utf8) == Array((expected + "\"").utf8))
        }
    }

    @Test("keeps what was written when its memory grows, and writes nothing beyond memory that it was given")
    func grows() async {
        var writer = ByteWriter()
        var expected = ""
        for number in 0..<30_000 {
            writer.write(decimal: number)
            expected += "\(number)"
        }
        #expect(String(decoding: writer.bytes, as: UTF8.self) == expected)
        writer.removeAll()
        writer.write("x")
        #expect(Array(writer.bytes) == Array("x".utf8))
        await #expect(processExitsWith: .failure) {
            var memory: [UInt8] = [0, 0, 0]
            memory.withUnsafeMutableBytes { bytes in
                var writer = ByteWriter(bytes)
                writer.write("four")
            }
        }
    }
}

@Suite("The contexts of a connection's answers")
struct ResponseContextTests {
    private func context(_ number: Int) -> ResponseContext {
        ResponseContext(topic: .usage(of: SubjectID(high: 0, low: UInt64(number))))
    }

    @Test("come back by their tickets, however many wait, and those of ordinary requests are not kept")
    func order() {
        var contexts = ResponseContexts()
        var random = SeededGenerator(seed: 2)
        var next = 0
        var first = 0
        var kept: Set<Int> = []
        for _ in 0..<5_000 {
            if next - first < 200, Bool.random(using: &random) || first == next {
                if Int.random(in: 0..<4, using: &random) > 0 { kept.insert(next) }
                contexts.keep(kept.contains(next) ? context(next) : .ordinary, for: next)
                next += 1
            } else {
                #expect(contexts.remove(first) == (kept.contains(first) ? context(first) : .ordinary))
                first += 1
            }
        }
        while first < next {
            _ = contexts.remove(first)
            first += 1
        }
        #expect(contexts.isEmpty)
    }
}
