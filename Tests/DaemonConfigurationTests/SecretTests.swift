import RedisClient
import Testing

@testable import DaemonConfiguration

@Suite("Secrets in the configuration")
struct SecretTests {
    let folder = TemporaryFolder()

    @Test(
        "are read from the password file without its line end",
        arguments: ["s3cret", "s3cret\n", "s3cret\r\n", "\u{FEFF}s3cret", "\u{FEFF}s3cret\r\n"])
    func passwordFile(content: String) throws {
        let file = folder.write("password", content)
        let settings = try ConfigurationLoader(
            flags: [.redisPasswordFile: file, .redisURL: "redis://gateway@h"], environment: [:]
        ).load().settings
        #expect(settings.redis.server.password?.reveal() == "s3cret")
        #expect(settings.redis.server.user == "gateway")
        #expect(settings.redisURL.server.password == nil)
    }

    @Test(
        "in a bad password file stop the start",
        arguments: [
            ("", "it is empty"), ("\n", "it is empty"), ("\u{FEFF}", "it is empty"),
            ("a\nb\n", "it is not one line of UTF-8 text"),
            ("a\0b", "it is not one line of UTF-8 text"),
            (String(repeating: "p", count: 4097), "it is longer than 4 KiB"),
        ])
    func badPasswordFile(content: String, reason: String) throws {
        let file = folder.write("password", content)
        let error = try #require(throws: ConfigurationError.self) {
            try ConfigurationLoader(flags: [.redisPasswordFile: file], environment: [:]).load()
        }
        #expect(error.problems.map(\.reason) == [reason])
    }

    @Test("are shown nowhere: not in the table, the JSON, the entries, a dump, or an error")
    func masked() throws {
        let file = folder.write("password", "s3cret-file")
        let configuration = try ConfigurationLoader(
            environment: [
                "LLM_RATE_LIMIT_REDIS_URL": "redis://gateway:s3cret-url@h/0",
                "LLM_RATE_LIMIT_REDIS_PASSWORD_FILE": file,
            ]
        ).load()
        var dumped = ""
        dump(configuration, to: &dumped)
        for text in [configuration.table(), configuration.json(), dumped, "\(configuration)"] {
            #expect(!text.contains("s3cret"))
        }
        #expect(configuration[.redisURL].value == "redis://gateway:***@h:6379/0")
        for url in ["redis://u:s3cret@h:x", "s3cret", "redis://u:s3cret", "rediss://:s3cret@h:x", "unix://u:s3cret@h"] {
            let error = try #require(throws: ConfigurationError.self) {
                try ConfigurationLoader(flags: [.redisURL: url], environment: [:]).load()
            }
            #expect(!"\(error) \(String(reflecting: error))".contains("cret"), "\(url)")
            #expect("\(error)".hasPrefix("cannot use LLM_RATE_LIMIT_REDIS_URL="))
        }
    }

    @Test("of Sentinels and of their master are kept apart")
    func sentinelLogin() throws {
        let file = folder.write("sentinel-password", "s3cret-sentinel\n")
        let url = "redis+sentinel://gateway:s3cret-master@h1,h2/mymaster"
        let configuration = try ConfigurationLoader(
            flags: [.sentinelUser: "watcher", .sentinelPasswordFile: file],
            environment: ["LLM_RATE_LIMIT_REDIS_URL": url]
        ).load()
        #expect(configuration.warnings.isEmpty)
        guard case .sentinel(let group) = configuration.settings.redis else {
            Issue.record("\(configuration.settings.redis)")
            return
        }
        #expect(
            group.sentinels.allSatisfy { $0.user == "watcher" && $0.password?.reveal() == "s3cret-sentinel" })
        #expect(group.master.user == "gateway" && group.master.password == Secret("s3cret-master"))
        #expect(!"\(configuration)\(configuration.json())".contains("s3cret"))
    }

    @Test("for Sentinels that there are not, or a user without a password, are warned of")
    func sentinelWarnings() throws {
        let file = folder.write("sentinel-password", "s3cret")
        let unused = try ConfigurationLoader(flags: [.sentinelPasswordFile: file], environment: [:]).load()
        #expect(
            unused.warnings == [
                "LLM_RATE_LIMIT_SENTINEL_PASSWORD_FILE is not used: LLM_RATE_LIMIT_REDIS_URL names no Sentinels"
            ])
        let bare = try ConfigurationLoader(
            flags: [.sentinelUser: "watcher", .redisURL: "redis+sentinel://h/m"], environment: [:]
        ).load()
        #expect(
            bare.warnings == [
                "LLM_RATE_LIMIT_SENTINEL_USER is not used: LLM_RATE_LIMIT_SENTINEL_PASSWORD_FILE names no password"
            ])
    }

    @Test("that others can read, or that are given twice, are warned of")
    func warnings() throws {
        let file = folder.write("password", "s3cret", mode: 0o644)
        let configuration = try ConfigurationLoader(
            flags: [.redisURL: "redis://:s3cret@h", .redisPasswordFile: file], environment: [:]
        ).load()
        #expect(
            configuration.warnings == [
                "\(file) holds the Redis password and every user can read it: chmod it to 0600",
                "the password in LLM_RATE_LIMIT_REDIS_URL is not used: LLM_RATE_LIMIT_REDIS_PASSWORD_FILE names another",
                "the password in --redis-url could be read in the process list until now: "
                    + "give it with --redis-password-file",
            ])
    }
}
