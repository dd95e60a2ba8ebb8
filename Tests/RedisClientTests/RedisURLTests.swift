import TestSupport
import Testing

@testable import RedisClient

@Suite("The Redis URL")
struct RedisURLTests {
    @Test(
        "is read in every accepted form",
        arguments: [
            ("redis://127.0.0.1:6379/0", endpoint("127.0.0.1")),
            ("redis://127.0.0.1", endpoint("127.0.0.1")),
            ("redis://127.0.0.1/", endpoint("127.0.0.1")),
            ("REDIS://redis.example/3", endpoint("redis.example", database: 3)),
            ("redis://redis.example:7000/65535", endpoint("redis.example", port: 7000, database: 65_535)),
            ("redis://[::1]:6380/1", endpoint("::1", port: 6380, database: 1)),
            ("redis://[::1]", endpoint("::1")),
            ("redis://[fe80::1%25eth0]", endpoint("fe80::1%eth0")),
            ("redis://gateway:s3cret@h/0", endpoint("h", user: "gateway", password: "s3cret")),
            ("redis://:s3cret@h", endpoint("h", password: "s3cret")),
            ("redis://gateway@h", endpoint("h", user: "gateway")),
            ("redis://gateway:@h", endpoint("h", user: "gateway")),
            ("redis://a%40b:p%2F%3a%25w@h", endpoint("h", user: "a@b", password: "p/:%w")),
            ("redis://u:p:q@r@h:1", endpoint("h", port: 1, user: "u", password: "p:q@r")),
            ("redis://u:p%C3%A4@h", endpoint("h", user: "u", password: "pä")),
            ("unix:///run/redis.sock", socket("/run/redis.sock")),
            ("unix:///run/redis.sock?db=4", socket("/run/redis.sock", database: 4)),
            ("unix://u:p@/run/redis.sock?db=0", socket("/run/redis.sock", user: "u", password: "p")),
            ("unix:///tmp/a%20b%40c%3F.sock", socket("/tmp/a b@c?.sock")),
        ])
    func accepts(url: String, expected: RedisEndpoint) throws {
        #expect(try RedisTopology.parse(url) == .single(expected))
    }

    @Test(
        "is refused with the reason",
        arguments: [
            ("", RedisURLError.notAURL),
            ("127.0.0.1:6379", .notAURL),
            ("redis:/127.0.0.1", .notAURL),
            ("re dis://h", .notAURL),
            ("redis+unix://h", .unsupportedScheme("redis+unix")),
            ("redis+sentinel://h:26379", .badMasterName),
            ("redis+sentinel://h:26379/", .badMasterName),
            ("redis+sentinel://h:26379/my%20master", .badMasterName),
            ("redis+sentinel://h,/mymaster", .missingHost),
            ("redis+sentinel://h,g:x/mymaster", .badPort),
            ("redis+sentinel://h/mymaster/x", .badDatabase),
            ("redis+sentinel://h/mymaster?db=1", .unexpectedQuery),
            ("redis+cluster://h1:7000,h2:7001/1", .badDatabase),
            ("redis+cluster://h1:7000,h2:7001?db=0", .unexpectedQuery),
            ("redis+cluster://" + Array(repeating: "h", count: 33).joined(separator: ","), .tooManyHosts),
            ("http://h", .unsupportedScheme("http")),
            ("redis://", .missingHost),
            ("redis:///0", .missingHost),
            ("redis://:6379", .missingHost),
            ("redis://u:p@/0", .missingHost),
            ("redis://h:", .badPort),
            ("redis://h:0", .badPort),
            ("redis://h:65536", .badPort),
            ("redis://h:+1", .badPort),
            ("redis://h:6379x", .badPort),
            ("redis://h/x", .badDatabase),
            ("redis://h/-1", .badDatabase),
            ("redis://h/65536", .badDatabase),
            ("redis://h/0/1", .badDatabase),
            ("redis://h?db=1", .unexpectedQuery),
            ("redis://h/0#x", .unexpectedQuery),
            ("redis://[::1", .badHost),
            ("redis://[h]", .badHost),
            ("redis://[::1]x", .badHost),
            ("redis://a b", .badHost),
            ("redis://h%00", .badHost),
            ("redis://u:%zz@h", .badPercentEncoding),
            ("redis://u:%4@h", .badPercentEncoding),
            ("redis://u:%ff@h", .badPercentEncoding),
            ("redis://u:\u{301}s3cret@h", .combinedDelimiter),
            ("redis://u:s3cret\u{600}@h", .combinedDelimiter),
            ("redis://u:s3/cret@h", .unencodedLogin),
            ("redis://u:s3#cret@h", .unencodedLogin),
            ("unix://run/redis.sock", .badSocketPath),
            ("unix://", .badSocketPath),
            ("unix:///", .badSocketPath),
            ("unix:///a%00b", .badSocketPath),
            ("unix:///a?db=x", .badDatabase),
            ("unix:///a?database=1", .unexpectedQuery),
            ("unix:///a?db=1&x=y", .badDatabase),
            ("unix:///" + String(repeating: "a", count: 107), .socketPathTooLong),
            ("redis://" + String(repeating: "h", count: 4096), .tooLong),
        ])
    func refuses(url: String, expected: RedisURLError) {
        #expect(throws: expected) { try RedisTopology.parse(url) }
    }

    @Test("with rediss:// goes over TLS")
    func encrypted() throws {
        var expected = endpoint("h", user: "u", password: "p", database: 2)
        expected.tls = TLSOptions()
        #expect(try RedisTopology.parse("rediss://u:p@h/2") == .single(expected))
    }

    @Test("names Sentinels, the master and how to log in to it, and not how to log in to the Sentinels")
    func sentinel() throws {
        let sentinels = [endpoint("h1", port: 26_379), endpoint("::1", port: 26_380)]
        let master = endpoint("h1", port: 26_379, user: "u", password: "p", database: 3)
        let expected = SentinelGroup(sentinels: sentinels, masterName: "my master", master: master)
        #expect(throws: RedisURLError.badMasterName) { try RedisTopology.parse("redis+sentinel://h1/my master") }
        var plain = expected
        plain.masterName = "mymaster"
        #expect(try RedisTopology.parse("redis+sentinel://u:p@h1,[::1]:26380/mymaster/3") == .sentinel(plain))
        guard case .sentinel(let group) = try RedisTopology.parse("rediss+sentinel://h1/m") else {
            throw TestFailure("no Sentinel URL")
        }
        #expect(group.master.tls != nil && group.master.database == 0 && group.sentinels.allSatisfy { $0.tls != nil })
    }

    @Test("names the nodes of a cluster")
    func cluster() throws {
        let seeds = [endpoint("h1", port: 7000, password: "p"), endpoint("h2", password: "p")]
        #expect(try RedisTopology.parse("redis+cluster://:p@h1:7000,h2/0") == .cluster(seeds: seeds))
    }

    @Test("gives a login of files to the servers and not to the Sentinels")
    func serverLogin() throws {
        let folder = try TemporaryFolder()
        let file = try SecretFile(reading: folder.write("u\n", to: "user"))
        for url in ["redis://h", "redis+cluster://h,g", "redis+sentinel://h,g/m"] {
            var topology = try RedisTopology.parse(url)
            topology.setServerLogin(userFile: file, password: Secret("p"))
            switch topology {
            case .sentinel(let group):
                #expect(group.master.currentUser == "u" && group.master.password?.reveal() == "p")
                #expect(group.sentinels.allSatisfy { $0.currentUser == nil && $0.password == nil })
            case .single, .cluster:
                #expect(topology.endpoints.allSatisfy { $0.currentUser == "u" && $0.password?.reveal() == "p" })
            }
        }
    }

    @Test("takes a socket path of exactly the longest length")
    func longestSocketPath() throws {
        let path = "/" + String(repeating: "a", count: 106)
        #expect(try RedisTopology.parse("unix://\(path)") == .single(socket(path)))
    }

    @Test(
        "is described with the password masked",
        arguments: [
            ("redis://u:s3cret@h", "redis://u:***@h:6379/0"),
            ("redis://:s3cret@[::1]:1/2", "redis://:***@[::1]:1/2"),
            ("redis://h", "redis://h:6379/0"),
            ("redis://a%40b@h", "redis://a%40b@h:6379/0"),
            ("rediss://u:s3cret@h", "rediss://u:***@h:6379/0"),
            ("redis+sentinel://u:s3cret@h,g:1/m/2", "redis+sentinel://u:***@h:26379,g:1/m/2"),
            ("rediss+cluster://u:s3cret@h,[::1]", "rediss+cluster://u:***@h:6379,[::1]:6379"),
            ("redis://[fe80::1%25eth0]", "redis://[fe80::1%25eth0]:6379/0"),
            ("unix://u:s3cret@/a%20b?db=7", "unix://u:***@/a%20b?db=7"),
        ])
    func describes(url: String, expected: String) throws {
        #expect(try RedisTopology.parse(url).description == expected)
    }

    @Test("says what is accepted, and which schemes, when it refuses one")
    func errorText() {
        let text = RedisURLError.unsupportedScheme("http").description
        #expect(
            text == "cannot use the Redis URL: the scheme http:// is not supported; accepted are "
                + RedisTopology.acceptedURLs)
    }

    @Test("never shows a password in an error or in the masked text")
    func secretsStaySecret() throws {
        let urls = [
            "redis://u:s3cret@h:x", "redis://u:s3cret@h/x", "redis://u:a/s3cret@h", "redis://u:%zzs3cret@h",
            "redis://:s3cret", "redis://u:s3cret", "s3cret", "rediss://u:s3cret@h:x", "unix://u:s3cret@run/x",
            "redis+cluster://u:s3cret@h,g:x", "redis+cluster://u:s3cret,h:1", "redis://u:\u{301}s3cret@h",
            "redis://h?password=s3cret", "unix:///x?db=s3cret", "redis://u:s3#cret@s3cret@",
        ]
        for url in urls {
            #expect(!RedisTopology.masked(url).contains("cret"), "\(url)")
            #expect { try RedisTopology.parse(url) } throws: { !"\($0)".contains("cret") }
        }
    }

    @Test(
        "keeps in the masked text what an operator needs to see",
        arguments: [
            ("redis://h:99999/0", "redis://h:99999/0"),
            ("redis://u:p@h:99999/0", "redis://***@h:99999/0"),
            ("rediss://[::1]/0", "rediss://[::1]/0"),
            ("unix://run/x?db=1", "unix://run/x?db=1"),
            ("redis://h/0?db=x", "redis://h/0?***"),
        ])
    func masks(url: String, expected: String) {
        #expect(RedisTopology.masked(url) == expected)
    }

    @Test("hides a secret from printing, debugging and reflection, and reveals it when asked")
    func secret() {
        let secret = Secret("s3cret")
        var dumped = ""
        dump(endpoint("h", password: "s3cret"), to: &dumped)
        #expect(!dumped.contains("s3cret"))
        #expect("\(secret)" == "***")
        #expect(String(reflecting: secret) == "***")
        #expect(secret.reveal() == "s3cret")
    }

    @Test(
        "hides a secret in what a server answers to it, whole or cut short",
        arguments: [
            ("WRONGPASS invalid username-password pair", "WRONGPASS invalid username-password pair"),
            ("ERR unknown command 'AUTH', with args beginning with: 's3cret' ", "ERR unknown command 'AUTH'"),
            (
                "ERR cannot use s3cre as a password",
                "ERR (the rest is not shown, since it may hold the password)"
            ),
        ])
    func hidden(answer: String, shown: String) {
        #expect(Secret("s3cret").hidden(in: answer) == shown)
    }
}

private func endpoint(
    _ host: String, port: Int = 6379, user: String? = nil, password: String? = nil, database: Int = 0
) -> RedisEndpoint {
    RedisEndpoint(
        address: .tcp(host: host, port: port), user: user, password: password.map(Secret.init), database: database)
}

private func socket(
    _ path: String, user: String? = nil, password: String? = nil, database: Int = 0
) -> RedisEndpoint {
    RedisEndpoint(address: .unix(path: path), user: user, password: password.map(Secret.init), database: database)
}
