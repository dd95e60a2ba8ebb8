import RedisClient
import Testing

@testable import DaemonConfiguration

@Suite("Reloading the configuration")
struct ConfigurationReloadTests {
    let folder = TemporaryFolder()

    @Test("puts the reloadable options in force and names those that need a restart")
    func reload() throws {
        let file = folder.write("env", "LLM_RATE_LIMIT_REQUESTS=20\nLLM_RATE_LIMIT_WINDOW=1h\n")
        let loader = ConfigurationLoader(
            environment: ["LLM_RATE_LIMIT_ENV_FILE": file, "LLM_RATE_LIMIT_REPLICAS": "2"])
        let start = try loader.load()
        _ = folder.write(
            "env",
            """
            LLM_RATE_LIMIT_REQUESTS=30
            LLM_RATE_LIMIT_THREADS=4
            LLM_RATE_LIMIT_REPLICAS=9
            LLM_RATE_LIMIT_X=
            """)

        let reloaded = try loader.reload(replacing: start)
        var expected = start.settings
        expected.requests = 30
        #expect(reloaded.configuration.settings == expected)
        #expect(reloaded.applied.map(\.description) == ["LLM_RATE_LIMIT_REQUESTS: 20 -> 30"])
        #expect(reloaded.needRestart.map(\.description) == ["LLM_RATE_LIMIT_THREADS: 1 -> 4"])
        #expect(reloaded.configuration.warnings.count == 1)

        // What is listed is what is in force.
        let listed = reloaded.configuration
        #expect(listed[.requests].value == "30")
        #expect(listed[.threads].value == "1" && listed[.threads].source == .default)
        #expect(listed[.window].value == "3600" && listed[.window].source == .default)
        #expect(listed[.replicas].source == .environment)
        #expect(listed.entries.map(\.option) == start.entries.map(\.option))

        // A change that waits for its restart is named at each reload, one in force is not applied twice.
        let again = try loader.reload(replacing: listed)
        #expect(again.applied.isEmpty && again.needRestart == reloaded.needRestart)
    }

    @Test("changes nothing when a value is bad")
    func badReload() throws {
        let file = folder.write("env", "LLM_RATE_LIMIT_REQUESTS=20\n")
        let loader = ConfigurationLoader(flags: [.envFile: file], environment: [:])
        let start = try loader.load()
        _ = folder.write("env", "LLM_RATE_LIMIT_REQUESTS=30\nLLM_RATE_LIMIT_WINDOW=never\n")
        let error = try #require(throws: ConfigurationError.self) { try loader.reload(replacing: start) }
        #expect(error.problems.map(\.option) == [.window])
    }

    @Test("has nothing to do for a new password behind the same path: it is read for each connection")
    func newPassword() throws {
        let file = folder.write("password", "s3cret-1")
        let loader = ConfigurationLoader(flags: [.redisPasswordFile: file], environment: [:])
        let start = try loader.load()
        _ = folder.write("password", "s3cret-2")
        let reloaded = try loader.reload(replacing: start)
        #expect(reloaded.needRestart.isEmpty)
        #expect(start.settings.redis.server.password?.reveal() == "s3cret-2")
        // A file that cannot be used, as while it is being written, logs nobody out; a reload says so.
        _ = folder.write("password", "")
        #expect(throws: ConfigurationError.self) { try loader.reload(replacing: start) }
        #expect(start.settings.redis.server.password?.reveal() == "s3cret-2")
    }
}
