import Foundation
import TestSupport
import Testing

/// The configurations that reserve before a call and settle with what it took.
@Suite("Gateways that settle", .serialized, .needs("nginx"))
struct SettlementTests {
    /// What the model's answers say that they took.
    private static let told = ["tokens": 980, "input": 900, "output": 80]

    private func setting(_ door: Door, _ more: String = "") throws -> GatewaySetting {
        try GatewaySetting(door, limits: GatewaySetting.limits + more, ["REQUESTS": "1000"])
    }

    private func expectUsed(_ expected: [String: Int], _ setting: GatewaySetting, _ user: String, _ what: String) throws
    {
        func used() throws -> [String: Int] { try setting.used(user).filter { $0.key != "requests" } }
        let isReached = try eventually(within: 10) { try used() == expected }
        let found = try used()
        #expect(isReached, "\(what): \(found)")
    }

    @Test("What an answer or a stream tells that it took is charged", arguments: Door.settling)
    func told(door: Door) throws {
        let setting = try setting(door)
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
            var user = newUser()
            let response = try setting.call(user, path: path)
            #expect(response.status == 200 && response["RateLimit"]?.contains("r=999") == true, "\(response)")
            try expectUsed(Self.told, setting, user, path)

            user = newUser()
            let text = try setting.stream(user, path: path, #""stream_options":{"include_usage":true}"#)
            #expect(
                text.contains(" 200 ") && text.contains("usage") && text.hasSuffix("0\r\n\r\n"), "\(text.suffix(200))")
            try expectUsed(Self.told, setting, user, "a stream of \(path)")
            #expect(try setting.used(user)["requests"] == 1)
        }
    }

    @Test("A stream that the client cuts is charged the estimate that was held", arguments: Door.settling)
    func cut(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        for _ in 0..<4 { #expect(try setting.call(user).status == 200) }
        try expectUsed(["tokens": 3_920, "input": 3_600, "output": 320], setting, user, "four calls")
        let text = try setting.stream(user, #""slow":true,"stream_options":{"include_usage":true}"#, until: "delta")
        #expect(!text.hasSuffix("0\r\n\r\n"))
        let expected = ["tokens": 4_900, "input": 4_500, "output": 400]
        try expectUsed(expected, setting, user, "a cut stream")
    }

    @Test(
        "A stream that is cut, or tells nothing, costs something where no estimate is known", arguments: Door.settling)
    func unknown(door: Door) throws {
        let setting = try setting(door)
        var user = newUser()
        _ = try setting.stream(user, "", until: nil)
        // Forty events and the end; and the bytes of the request by four.
        #expect(try eventually(within: 10) { try setting.used(user)["output"] == 41 })
        let input = try setting.used(user)["input"] ?? 0
        #expect(input >= 20)
        user = newUser()
        _ = try setting.stream(user, #""slow":true"#, until: "delta")
        #expect(try eventually(within: 10) { try setting.used(user)["tokens"] ?? 0 >= 20 })
    }

    @Test("A call that the model refuses costs its request alone, and frees its slot", arguments: Door.settling)
    func refused(door: Door) throws {
        let more = "\n  - {name: calls, per: user, unit: concurrency, quota: 1}"
        let setting = try setting(door, more)
        let user = newUser()
        for status in [400, 429, 500] {
            #expect(try setting.call(user, #""status":\#(status)"#).status == status)
            try expectUsed(["tokens": 0, "input": 0, "output": 0, "calls": 0], setting, user, "\(status)")
        }
    }

    @Test("A call at capacity is 429 with Retry-After", arguments: Door.settling)
    func capacity(door: Door) throws {
        let more = "\n  - {name: calls, per: user, unit: concurrency, quota: 1}"
        let setting = try setting(door, more)
        let user = newUser()
        let held = try setting.daemon.connect().request(
            "POST", "/v1/reserve", body: #"{"user":"\#(user)","model":"gpt-4o"}"#)
        #expect(held.status == 200)
        let denied = try setting.call(user)
        #expect(denied.status == 429 && denied["Retry-After"] != nil, "\(denied)")
    }

    @Test("What a call took is charged though the daemon was away when it ended", arguments: [Door.nginxLua])
    func settledLater(door: Door) throws {
        let setting = try setting(door)
        let user = newUser()
        let socket = try StreamSocket(.tcp(setting.port))
        let body =
            #"{"model":"gpt-4o","messages":[],"stream":true,"slow":true,"stream_options":{"include_usage":true}}"#
        let headers = ["X-User-Id": user, "Content-Type": "application/json", "Connection": "close"]
        try socket.send(HTTPConnection.text("POST", "/v1/chat/completions", headers, body: body).utf8)
        var received = ""
        while !received.contains("delta"), let bytes = try socket.receive(), !bytes.isEmpty {
            received += String(decoding: bytes, as: UTF8.self)
        }
        setting.daemon.kill()
        while let bytes = try socket.receive(), !bytes.isEmpty { received += String(decoding: bytes, as: UTF8.self) }
        #expect(received.hasSuffix("0\r\n\r\n"))
        try setting.daemon.restart()
        try expectUsed(Self.told, setting, user, "after the daemon's restart")
    }
}
