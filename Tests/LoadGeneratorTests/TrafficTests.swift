import Testing

@testable import LoadGenerator

@Suite struct TrafficTests {
    @Test("Users are canonical UUIDs of version 4, all different, and the same for the same seed")
    func users() throws {
        let users = try Users(count: 1_000, seed: 7)
        let texts = Set((0..<1_000).map { users[$0] })
        #expect(texts.count == 1_000)
        for text in texts {
            #expect(text.split(separator: "-", omittingEmptySubsequences: false).map(\.count) == [8, 4, 4, 4, 12])
            #expect(text.allSatisfy { $0 == "-" || "0123456789abcdef".contains($0) })
            #expect(Array(text)[14] == "4" && "89ab".contains(Array(text)[19]))
        }
        #expect(try Users(count: 1_000, seed: 7)[999] == users[999])
        #expect(try Users(count: 1_000, seed: 8)[999] != users[999])
    }

    @Test("Round robin comes back to the first user after the last")
    func roundRobin() throws {
        var picker = UserPicker(try CheckMix(users: Users(count: 3, order: .roundRobin)))
        let picked = (0..<7).map { _ in next(&picker) }
        #expect(Array(picked[0..<3]) == Array(picked[3..<6]) && picked[6] == picked[0])
        #expect(Set(picked).count == 3)
    }

    @Test("The share of the denied user is kept to a percent")
    func deniedShare() throws {
        let mix = try CheckMix(users: Users(count: 100), deniedSharePercent: 30)
        var picker = UserPicker(mix)
        let denied = (0..<20_000).filter { _ in next(&picker) == mix.deniedUser[0] }.count
        #expect((5_800...6_200).contains(denied))
    }

    @Test("A check over HTTP is a whole request, its length right once the user is in")
    func httpRequest() throws {
        let users = try Users(count: 1)
        let request = RequestTemplate.httpCheck(cost: 12).filled(user: users.text[...])
        let parts = String(decoding: request, as: UTF8.self).split(separator: "\r\n\r\n")
        #expect(parts[0].hasPrefix("POST /v1/check HTTP/1.1\r\nHost: "))
        #expect(parts[0].contains("Content-Length: \(parts[1].utf8.count)"))
        #expect(parts[1] == #"{"user":"\#(users[0])","cost":12}"#)
    }

    @Test("A check straight to Redis is one EVALSHA with the key, the policy and the cost")
    func redisRequest() throws {
        let users = try Users(count: 1)
        let script = CheckScript(sha: "abc", limit: 20, windowMilliseconds: 3_600_000)
        let traffic = Traffic.scriptChecks(try CheckMix(users: users, cost: 2), script: script)
        let request = traffic.template.filled(user: users.text[...])
        let start =
            "*7\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n1\r\n$45\r\nllm-rate:\(users[0])\r\n$1\r\n\u{0}\r\n$6\r\n\u{2}"
        #expect(request.starts(with: start.utf8))
        // A plan of one term: 16 bytes and 39.
        let plan = Array("\r\n$55\r\n".utf8) + [1, 1, 0, 1, 0, 0, 0, 0, 0x80, 0xee, 0x36, 0, 1, 0, 0, 0]
        #expect(request.dropFirst(start.utf8.count + 5).starts(with: plan))
        #expect(request.count == start.utf8.count + 5 + plan.count + 39 + 2)
    }

    @Test("A value out of bounds is refused with what is accepted")
    func bounds() throws {
        let target = try Endpoint("/tmp/x.sock")
        let refused = #expect(throws: LoadError.self) { try Load(target: target, traffic: .ping, connections: 0) }
        #expect(refused?.description == "cannot use connections 0: accepted is 1 to 4096")
        #expect(throws: LoadError.self) { try Load(target: target, traffic: .ping, pipelineDepth: 65) }
        #expect(throws: LoadError.self) { try Load(target: target, traffic: .ping, length: .checks(0)) }
        #expect(throws: LoadError.self) { try Users(count: 0) }
    }

    @Test("An address is a path, or a host and a port")
    func addresses() throws {
        #expect(try Endpoint("./a.sock") == .unixSocket(path: "./a.sock"))
        #expect(try Endpoint("a.sock") == .unixSocket(path: "a.sock"))
        #expect(try Endpoint("localhost:8089") == .tcp(host: "localhost", port: 8089))
        #expect(try Endpoint("[::1]:6379") == .tcp(host: "::1", port: 6379))
        #expect(try Endpoint("[::1]:6379").description == "[::1]:6379")
        for text in ["", ":1", "x:", "x:0", "x:65536"] {
            #expect(throws: LoadError.self, "\(text)") { try Endpoint(text) }
        }
    }

    @Test("A load of a socket that nobody listens at says so")
    func nobodyListens() throws {
        let load = try Load(target: Endpoint("/nowhere/at.all"), traffic: .ping)
        let error = #expect(throws: LoadError.self) { try load.run() }
        #expect(error?.description == "cannot connect to /nowhere/at.all: No such file or directory")
    }

    private func next(_ picker: inout UserPicker) -> String {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Users.textLength) { place in
            picker.copyNext(to: place.baseAddress!)
            return String(decoding: place, as: UTF8.self)
        }
    }
}
