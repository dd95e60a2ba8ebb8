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

        let reloaded = loader.reload(replacing: start)
        var expected = start.settings
        expected.requests = 30
        #expect(reloaded.configuration.settings == expected)
        #expect(reloaded.changes == ["LLM_RATE_LIMIT_REQUESTS: 20 -> 30"] && reloaded.failures.isEmpty)
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
        let again = loader.reload(replacing: listed)
        #expect(again.changes.isEmpty && again.needRestart == reloaded.needRestart)
    }

    @Test("changes no option when a value is bad")
    func badReload() throws {
        let file = folder.write("env", "LLM_RATE_LIMIT_REQUESTS=20\n")
        let loader = ConfigurationLoader(flags: [.envFile: file], environment: [:])
        let start = try loader.load()
        _ = folder.write("env", "LLM_RATE_LIMIT_REQUESTS=30\nLLM_RATE_LIMIT_WINDOW=never\n")
        let reloaded = loader.reload(replacing: start)
        #expect(reloaded.failures[.options]?.problems.map(\.option) == [.window] && reloaded.failures[.limits] == nil)
        #expect(reloaded.configuration == start && reloaded.changes.isEmpty)
    }

    @Test("puts all other options in force where the env file names another limits file that cannot be used")
    func anotherBadLimitsFile() throws {
        let first = folder.write("first.yaml", limits("10"))
        let file = folder.write("env", "LLM_RATE_LIMIT_LIMITS_FILE=\(first)\n")
        let loader = ConfigurationLoader(flags: [.envFile: file], environment: [:])
        let start = try loader.load()
        for second in ["\(first).missing", folder.write("second.yaml", limits("many"))] {
            _ = folder.write("env", "LLM_RATE_LIMIT_LIMITS_FILE=\(second)\nLLM_RATE_LIMIT_DENY_CACHE_MS=3\n")
            let reloaded = loader.reload(replacing: start)
            #expect(reloaded.changes == ["LLM_RATE_LIMIT_DENY_CACHE_MS: 10000 -> 3"])
            #expect(reloaded.failures[.options]?.problems.map(\.option) == [.limitsFile])
            #expect(reloaded.configuration.settings.denyCacheMilliseconds == 3)
            #expect(reloaded.configuration.settings.limitsFile == start.settings.limitsFile)
            #expect(reloaded.configuration[.limitsFile].value == first)
        }
        // So where there was none, and where another option cannot be used nothing is.
        let none = try ConfigurationLoader(environment: [:]).load()
        #expect(loader.reload(replacing: none).configuration.settings.limitsFile == nil)
        _ = folder.write(
            "env", "LLM_RATE_LIMIT_LIMITS_FILE=/no/file\nLLM_RATE_LIMIT_WINDOW=x\nLLM_RATE_LIMIT_SHADOW=yes\n")
        #expect(loader.reload(replacing: start).configuration == start)
    }

    private func limits(_ quota: String, name: String = "a") -> String {
        "limits:\n  - {name: \(name), per: user, unit: requests, quota: \(quota), window: 1h}\n"
    }

    @Test("puts edited limits in force whatever is wrong with an option, and an edited option whatever with the limits")
    func partsAlone() throws {
        let limitsFile = folder.write("limits", limits("5"))
        func env(_ line: String) -> String {
            folder.write("env", "LLM_RATE_LIMIT_LIMITS_FILE=\(limitsFile)\n\(line)\n")
        }
        let loader = ConfigurationLoader(flags: [.envFile: env("LLM_RATE_LIMIT_REQUESTS=20")], environment: [:])
        let start = try loader.load()

        _ = env("LLM_RATE_LIMIT_REQUESTS=many")
        _ = folder.write("limits", limits("7"))
        let first = loader.reload(replacing: start)
        #expect(first.changes == ["limit a: quota 5 -> 7"])
        #expect(first.failures[.options]?.problems.map(\.option) == [.requests] && first.failures[.limits] == nil)
        #expect(first.configuration.settings.requests == 20)

        _ = env("LLM_RATE_LIMIT_REQUESTS=30")
        _ = folder.write("limits", limits("-7"))
        let second = loader.reload(replacing: first.configuration)
        #expect(second.changes == ["LLM_RATE_LIMIT_REQUESTS: 20 -> 30"])
        #expect(second.failures[.limits]?.problems.map(\.option) == [.limitsFile] && second.failures[.options] == nil)
        #expect(second.configuration.settings.limitsFile == first.configuration.settings.limitsFile)
        #expect(second.configuration[.requests].value == "30")

        // A file that another is named in place of does not matter any more.
        _ = folder.write("env", "LLM_RATE_LIMIT_LIMITS_FILE=\(folder.write("other", limits("9")))\n")
        let third = loader.reload(replacing: second.configuration)
        #expect(third.failures.isEmpty)
        #expect(
            third.changes == [
                "LLM_RATE_LIMIT_REQUESTS: 30 -> 20",
                "LLM_RATE_LIMIT_LIMITS_FILE: \(limitsFile) -> \(folder.path)/other", "limit a: quota 7 -> 9",
            ])
    }

    @Test("of the limits file alone puts no edited option in force, nor another file that an option names by now")
    func limitsAlone() throws {
        let limitsFile = folder.write("limits", limits("5"))
        let file = folder.write("env", "LLM_RATE_LIMIT_LIMITS_FILE=\(limitsFile)\n")
        let loader = ConfigurationLoader(flags: [.envFile: file], environment: [:])
        let start = try loader.load()
        let other = folder.write("other", limits("9"))
        _ = folder.write("env", "LLM_RATE_LIMIT_LIMITS_FILE=\(other)\nLLM_RATE_LIMIT_REQUESTS=99\n")
        _ = folder.write("limits", limits("6"))
        let reloaded = loader.reload(.limits, replacing: start)
        #expect(reloaded.changes == ["limit a: quota 5 -> 6"] && reloaded.failures.isEmpty)
        var expected = start.settings
        expected.limitsFile = reloaded.configuration.settings.limitsFile
        #expect(reloaded.configuration.settings == expected && reloaded.configuration.entries == start.entries)

        // Nor does it matter that the env file cannot be read at all.
        _ = folder.write("env", bytes: [0xFF, 0x0A])
        _ = folder.write("limits", limits("7"))
        #expect(loader.reload(.limits, replacing: start).changes == ["limit a: quota 5 -> 7"])
    }

    @Test("refuses limits that do not go with the options in force, and takes options and limits that go together")
    func partsTogether() throws {
        let limitsFile = folder.write("limits", limits("5", name: "a"))
        let file = folder.write("env", "LLM_RATE_LIMIT_PER_SECOND=3\n")
        let loader = ConfigurationLoader(flags: [.envFile: file, .limitsFile: limitsFile], environment: [:])
        let start = try loader.load()
        _ = folder.write("limits", limits("5", name: "per-second"))
        let refused = loader.reload(.limits, replacing: start)
        #expect(refused.configuration == start && refused.changes.isEmpty)
        #expect(
            refused.failures[.limits]?.description
                == "cannot use LLM_RATE_LIMIT_LIMITS_FILE=\(limitsFile) (flag --limits-file): it names a limit as one of "
                + "the variables is named; accepted are \(OptionCatalogue[.limitsFile].accepted)")

        // The option that changes at the same time goes before the limits, where both cannot hold.
        _ = folder.write("env", "LLM_RATE_LIMIT_PER_SECOND=4\n")
        let options = loader.reload(replacing: start)
        #expect(options.changes == ["LLM_RATE_LIMIT_PER_SECOND: 3 -> 4"])
        #expect(options.failures.keys.map(\.rawValue) == ["limits"])

        _ = folder.write("env", "")
        let both = loader.reload(replacing: options.configuration)
        #expect(both.failures.isEmpty)
        #expect(
            both.changes == [
                "LLM_RATE_LIMIT_PER_SECOND: 4 -> 0", "limit a: removed",
                "limit per-second: added, per user, unit requests, quota 5, window 1h",
            ])
    }

    @Test("has nothing to do for a new password behind the same path: it is read for each connection")
    func newPassword() throws {
        let file = folder.write("password", "s3cret-1")
        let loader = ConfigurationLoader(flags: [.redisPasswordFile: file], environment: [:])
        let start = try loader.load()
        _ = folder.write("password", "s3cret-2")
        let reloaded = loader.reload(replacing: start)
        #expect(reloaded.needRestart.isEmpty && reloaded.failures.isEmpty)
        #expect(start.settings.redis.server.password?.reveal() == "s3cret-2")
        // A file that cannot be used, as while it is being written, logs nobody out; a reload says so.
        _ = folder.write("password", "")
        #expect(loader.reload(replacing: start).failures[.options] != nil)
        #expect(start.settings.redis.server.password?.reveal() == "s3cret-2")
    }
}
