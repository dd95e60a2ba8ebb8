import RateLimitCore
import Testing

@Suite("Which headers say what")
struct HeaderMapTests {
    @Test("is read back as it is written")
    func pairs() throws {
        let map = try HeaderMap("group=X-Team , model = X-Model,provider=P,label.tenant=X-Tenant,group=X-Org")
        #expect(map.description == "group=X-Team,model=X-Model,provider=P,label.tenant=X-Tenant,group=X-Org")
        #expect(try HeaderMap(map.description) == map)
        #expect(try HeaderMap("model=x-model") == HeaderMap("model=X-Model"))
        #expect(HeaderMap.none.description.isEmpty)
    }

    @Test("names what is wrong")
    func problems() {
        func problem(_ text: String) -> HeaderMap.Problem? {
            do throws(HeaderMap.Problem) {
                _ = try HeaderMap(text)
                return nil
            } catch {
                return error
            }
        }
        #expect(problem("") == .notAPair("") && problem("model=X,") == .notAPair(""))
        #expect(problem("model") == .notAPair("model"))
        #expect(problem("user=X-User") == .unknownAttribute("user") && problem("cost=X") == .unknownAttribute("cost"))
        #expect(problem("label.\u{301}x=X") == nil, "a name that begins with a combining mark")
        #expect(problem("label.=X") == .unknownAttribute("label."))
        #expect(problem("label.\(String(repeating: "a", count: 65))=X") != nil)
        #expect(problem("model=") == .notAHeader("") && problem("model=a b") == .notAHeader("a b"))
        #expect(problem("model=X,model=Y") == .repeated("model"))
        #expect(problem("group=X,group=x") == .repeated("group"))
        #expect(problem("label.a=X,label.a=Y") == .repeated("label.a"))
        #expect(problem(Array(repeating: "group=X", count: 33).joined(separator: ",")) == .tooMany(33))
    }

    @Test("and names the user is never a header that holds a secret")
    func secrets() {
        for name in ["Authorization", "cookie", "X-API-KEY", "Proxy-Authorization"] {
            #expect(HeaderName(name) == nil && (try? HeaderMap("model=\(name)")) == nil, "\(name)")
        }
        #expect(
            HeaderName("") == nil && HeaderName("X:") == nil && HeaderName(String(repeating: "a", count: 65)) == nil)
        #expect(HeaderName("x-user-ID") == .userID && HeaderName("X_User_Id") != .userID)
    }
}

@Suite("Who calls, where headers and the peer alone tell it")
struct CallerRulesTests {
    private let key = TokenKey(secret: "0123456789abcdef")

    /// The caller of a request with these headers, or why there is none.
    private func caller(
        _ headers: [(String, String)], _ rules: CallerRules = CallerRules(), at peer: ConnectionPeer = .unixSocket
    ) -> Result<String, CallerProblem> {
        do throws(CallerProblem) {
            return .success(try rules.caller(at: peer) { values(headers, $0) }.text)
        } catch {
            return .failure(error)
        }
    }

    private func values(_ headers: [(String, String)], _ name: HeaderName) -> [String] {
        headers.filter { HeaderName($0.0) == name || $0.0 == name.description }.map(\.1)
    }

    private var peer: ConnectionPeer { .address(IPAddress(ipv4: 0xc000_0207)) }

    @Test("The user header comes first, then the token, then the address")
    func order() throws {
        let rules = CallerRules(tokenKey: key)
        let all = [("X-User-Id", "ada"), ("Authorization", "Bearer t0ken"), ("X-Api-Key", "k3y")]
        #expect(caller(all, rules, at: peer) == .success("ada"))
        let token = try caller(Array(all[1...]), rules, at: peer).get()
        let apiKey = try caller(Array(all[2...]), rules, at: peer).get()
        #expect(token.hasPrefix("api-key:") && token.utf8.count == 40 && apiKey.utf8.count == 40 && token != apiKey)
        #expect(caller([], rules, at: peer) == .success("address:192.0.2.7"))
        #expect(caller([], rules) == .failure(.nobody))
        #expect(caller([("X-User-Id", " \t")], rules, at: peer) == .success("address:192.0.2.7"))
        #expect(caller([("X-User-Id", "\tada b\t ")], rules, at: peer) == .success("ada b"))
        #expect(caller(all, CallerRules(userHeader: nil), at: peer) == .success("address:192.0.2.7"))
    }

    @Test("A token counts in either header, whatever the case of its scheme, and only where there is a secret")
    func tokens() throws {
        let rules = CallerRules(tokenKey: key)
        let expected = caller([("X-Api-Key", "t0ken")], rules)
        for text in ["Bearer t0ken", "bearer t0ken", "BEARER   t0ken"] {
            #expect(caller([("Authorization", text)], rules) == expected, "\(text)")
        }
        for text in ["Basic t0ken", "Bearer", "Bearer ", "t0ken", "Bearert0ken"] {
            #expect(caller([("Authorization", text)], rules) == .failure(.nobody), "\(text)")
            #expect(caller([("Authorization", text), ("X-Api-Key", "t0ken")], rules) == expected, "\(text)")
        }
        #expect(caller([("X-Api-Key", "t0ken"), ("Authorization", "Bearer t0ken")]) == .failure(.nobody))
    }

    @Test("The hash of a token is that of its secret, and shows neither")
    func hash() throws {
        #expect(TokenKey(secret: "0123456789abcde") == nil)
        let other = TokenKey(secret: "0123456789abcdeg")
        let header = [("X-Api-Key", "t0ken")]
        let one = try caller(header, CallerRules(tokenKey: key)).get()
        #expect(try caller(header, CallerRules(tokenKey: other)).get() != one)
        #expect(try caller(header, CallerRules(tokenKey: key)).get() == one)
        // The same in every version: what is counted under it stays. Of Python's hashlib.blake2b.
        #expect(one == "api-key:339ce16e9049c8e0b67813c15125e145")
        var shown = ""
        dump(CallerRules(tokenKey: key), to: &shown)
        #expect(!shown.contains("0123456789abcdef") && String(describing: key).contains("***"))
        #expect(shown.contains("***"))
    }

    @Test("An address of IPv6 is the first 64 bits of it")
    func addresses() throws {
        func address(_ text: String) throws -> Result<String, CallerProblem> {
            caller([], at: .address(try #require(IPAddress(text))))
        }
        #expect(try address("2001:db8:0:1:aaaa::1") == .success("address:2001:db8:0:1::/64"))
        #expect(try address("2001:db8:0:1:bbbb::2") == .success("address:2001:db8:0:1::/64"))
        #expect(try address("2001:db8:0:2::1") == .success("address:2001:db8:0:2::/64"))
        #expect(try address("::ffff:192.0.2.7") == .success("address:192.0.2.7"))
    }

    @Test("No text of the user header is a subject of another kind")
    func kinds() throws {
        let token = try caller([("X-Api-Key", "t0ken")], CallerRules(tokenKey: key)).get()
        for text in [token, "api-key:", "address:192.0.2.7", "address:x", " address:x"] {
            #expect(caller([("X-User-Id", text)]) == .failure(.reserved(.userID)), "\(text)")
        }
        for text in ["api-key", "API-KEY:x", "address", "xaddress:1"] {
            #expect(caller([("X-User-Id", text)]) == .success(text), "\(text)")
        }
    }

    @Test("Who is named in a way that cannot be told is nobody, and no other header is asked then")
    func problems() {
        let rules = CallerRules(tokenKey: key)
        let token = ("X-Api-Key", "t0ken")
        #expect(caller([("X-User-Id", "a"), ("X-User-Id", "a"), token], rules) == .failure(.repeated(.userID)))
        #expect(caller([("X-User-Id", "a\u{fffd}"), token], rules) == .failure(.notUTF8(.userID)))
        let long = String(repeating: "a", count: 257)
        #expect(caller([("X-User-Id", long), token], rules) == .failure(.notASubject(.userID)))
        guard case .failure(.repeated) = caller([token, token], rules) else {
            Issue.record("two keys are one")
            return
        }
        for problem in [
            CallerProblem.nobody, .repeated(.userID), .notUTF8(.userID), .notASubject(.userID), .reserved(.userID),
            .longID(.idempotencyKey),
        ] {
            let text = problem.description
            #expect(text.utf8.allSatisfy { 0x20..<0x7f ~= $0 } && text.hasSuffix("."), "\(text)")
        }
    }

    @Test("A call has the id that the gateway's header says, and none where no header is configured")
    func ids() throws {
        let header = try #require(HeaderName("X-Request-Id"))
        func id(_ headers: [(String, String)], _ rules: CallerRules) throws(CallerProblem) -> String? {
            try rules.callID { values(headers, $0) }.map { String(decoding: $0, as: UTF8.self) }
        }
        let rules = CallerRules(idHeader: header)
        #expect(try id([("x-request-id", " a b ")], rules) == "a b")
        #expect(try id([("X-Request-Id", "")], rules) == nil && id([("Idempotency-Key", "a")], rules) == nil)
        #expect(try id([("X-Request-Id", "a"), ("Idempotency-Key", "a")], CallerRules()) == nil)
        let longest = String(repeating: "a", count: 256)
        #expect(try id([("X-Request-Id", longest)], rules) == longest)
        #expect(throws: CallerProblem.longID(header)) { try id([("X-Request-Id", longest + "a")], rules) }
        #expect(throws: CallerProblem.notUTF8(header)) { try id([("X-Request-Id", "\u{fffd}")], rules) }
        #expect(throws: CallerProblem.repeated(header)) {
            try id([("X-Request-Id", "a"), ("X-Request-Id", "a")], rules)
        }
    }

    @Test("A call says what the map has, and no more than the limits look at")
    func attributes() throws {
        let map = try HeaderMap("group=X-Team,group=X-Org,model=X-Model,provider=X-Provider,label.tenant=X-Tenant")
        let headers = [
            ("X-Team", "a"), ("X-Org", "b"), ("X-Model", "m"), ("X-Provider", ""), ("X-Tenant", "t"), ("X-Other", "o"),
        ]
        func read(_ headers: [(String, String)], labels: Set<String>, groups: Bool) throws(CallerProblem)
            -> CallAttributes
        {
            try CallerRules(headers: map).attributes(labelNames: labels, readsGroups: groups) { values(headers, $0) }
        }
        let all = try read(headers, labels: ["tenant"], groups: true)
        #expect(all.model == "m" && all.provider == nil && all.labels == ["tenant": "t"])
        #expect(all.groups.map(\.text) == ["a", "b"])
        let few = try read(headers, labels: [], groups: false)
        #expect(few.model == "m" && few.labels.isEmpty && few.groups.isEmpty)
        #expect(throws: CallerProblem.self) { try read(headers + [("X-Model", "n")], labels: [], groups: false) }
        #expect(throws: CallerProblem.notASubject(try #require(HeaderName("X-Team")))) {
            try read([("X-Team", String(repeating: "a", count: 257))], labels: [], groups: true)
        }
    }
}
