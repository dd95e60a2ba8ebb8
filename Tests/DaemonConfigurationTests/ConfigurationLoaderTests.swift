import RedisClient
import Testing

@testable import DaemonConfiguration

@Suite("Loading the configuration")
struct ConfigurationLoaderTests {
    let folder = TemporaryFolder()

    @Test("with nothing given gives the defaults, and says so")
    func defaults() throws {
        let configuration = try ConfigurationLoader(environment: ["PATH": "/bin"]).load()
        #expect(configuration.settings == Settings())
        #expect(configuration.warnings.isEmpty)
        #expect(configuration.entries.map(\.option) == OptionCatalogue.all.map(\.name))
        for entry in configuration.entries {
            #expect(entry.source == .default && entry.value == entry.definition.defaultText)
        }
    }

    @Test("takes flags before the environment, the environment before the file, the file before the default")
    func precedence() throws {
        let file = folder.write(
            "env",
            """
            LLM_RATE_LIMIT_REQUESTS=1
            LLM_RATE_LIMIT_WINDOW=1
            LLM_RATE_LIMIT_THREADS=1
            OTHER=1
            """)
        let configuration = try ConfigurationLoader(
            flags: [.requests: "3"],
            environment: [
                "LLM_RATE_LIMIT_ENV_FILE": file, "LLM_RATE_LIMIT_REQUESTS": "2", "LLM_RATE_LIMIT_WINDOW": "2",
            ]
        ).load()
        #expect(configuration.settings.requests == 3)
        #expect(configuration.settings.windowSeconds == 2)
        #expect(configuration[.requests].source == .flag(.requests))
        #expect(configuration[.window].source == .environment)
        #expect(configuration[.threads].source == .file(path: file, line: 3))
        #expect(configuration[.replicas].source == .default)
        #expect(configuration.warnings.isEmpty)
    }

    @Test("says where a value came from")
    func sources() {
        #expect("\(ValueSource.flag(.maxQueue))" == "flag --max-queue")
        #expect("\(ValueSource.environment)" == "environment")
        #expect("\(ValueSource.file(path: "/etc/x", line: 3))" == "file /etc/x")
        #expect("\(ValueSource.default)" == "default")
    }

    @Test("reports every bad value, each on one line with variable, value and what is accepted")
    func allProblems() throws {
        let file = folder.write("env", "\nLLM_RATE_LIMIT_WINDOW=0\n")
        let loader = ConfigurationLoader(
            flags: [.threads: "99"],
            environment: [
                "LLM_RATE_LIMIT_REQUESTS": "abc", "LLM_RATE_LIMIT_ENV_FILE": file, "LLM_RATE_LIMIT_REQUEST": "1",
                "LLM_RATE_LIMIT_LOG_LEVEL": "loud\n\u{1B}[31mroot\u{202E}",
                "LLM_RATE_LIMIT_FAILURE_MODE": String(repeating: "x", count: 500),
            ])
        let error = try #require(throws: ConfigurationError.self) { try loader.load() }
        #expect(
            error.description == """
                cannot use LLM_RATE_LIMIT_REQUESTS=abc: accepted are whole numbers from 0 to 1,000,000,000 \
                (0 switches the limit off)
                cannot use LLM_RATE_LIMIT_WINDOW=0 (\(file), line 2): accepted are seconds from 1 to 31,536,000, \
                also written with a unit such as 90s, 30m, 1h and 1d
                cannot use LLM_RATE_LIMIT_FAILURE_MODE=\(String(repeating: "x", count: 80))…: \
                accepted are open, closed and local
                cannot use LLM_RATE_LIMIT_THREADS=99 (flag --threads): accepted are whole numbers from 1 to 64
                cannot use LLM_RATE_LIMIT_LOG_LEVEL=loud\\n\\u{1B}[31mroot\\u{202E}: accepted are trace, debug, info, \
                notice, warning, error and critical
                """)
        #expect(
            error.warnings == [
                "unknown variables are ignored: LLM_RATE_LIMIT_REQUEST (did you mean LLM_RATE_LIMIT_REQUESTS?)"
            ])
    }

    @Test("reports the other bad values too when the file cannot be read")
    func unreadableFile() throws {
        let loader = ConfigurationLoader(flags: [.envFile: "/nonexistent"], environment: ["LLM_RATE_LIMIT_SHADOW": "x"])
        let error = try #require(throws: ConfigurationError.self) { try loader.load() }
        #expect(error.problems.map(\.option) == [.shadow, .envFile])
        #expect(
            error.problems.last?.description == "cannot use LLM_RATE_LIMIT_ENV_FILE=/nonexistent (flag --env-file): "
                + "No such file or directory; accepted are paths of readable files of NAME=value lines, at most 1 MiB")
    }

    @Test("refuses a file over 1 MiB and one that is no text")
    func badFiles() throws {
        let long = folder.write("long", "A=" + String(repeating: "x", count: EnvironmentFile.maximumBytes - 1))
        let binary = folder.write("binary", bytes: [0x41, 0x3D, 0xFF, 0x0A])
        for (file, reason) in [(long, "it is longer than 1024 KiB"), (binary, "line 1 is not UTF-8 text")] {
            let error = try #require(throws: ConfigurationError.self) {
                try ConfigurationLoader(flags: [.envFile: file], environment: [:]).load()
            }
            #expect(error.problems.map(\.reason) == [reason])
        }
        let longest = folder.write("long", "A=" + String(repeating: "x", count: EnvironmentFile.maximumBytes - 2))
        _ = try ConfigurationLoader(flags: [.envFile: longest], environment: [:]).load()
    }

    @Test("warns in one line of unknown names with the nearest known ones, in environment and file")
    func unknownNames() throws {
        let file = folder.write("env", "LLM_RATE_LIMIT_REDIS_ULR=x\nllm_rate_limit_shadow=yes\nUNRELATED=1\n")
        let configuration = try ConfigurationLoader(
            flags: [.envFile: file],
            environment: ["LLM_RATE_LIMIT_LOGLEVEL": "info", "LLM_RATE_LIMIT_TIMEOUT_MS": "1", "REQUESTS": "1"]
        ).load()
        #expect(
            configuration.warnings == [
                "unknown variables are ignored: LLM_RATE_LIMIT_LOGLEVEL (did you mean LLM_RATE_LIMIT_LOG_LEVEL?), "
                    + "LLM_RATE_LIMIT_TIMEOUT_MS (did you mean LLM_RATE_LIMIT_REDIS_TIMEOUT_MS?), "
                    + "LLM_RATE_LIMIT_REDIS_ULR in \(file) (did you mean LLM_RATE_LIMIT_REDIS_URL?), "
                    + "llm_rate_limit_shadow in \(file) (did you mean LLM_RATE_LIMIT_SHADOW?)"
            ])
    }

    @Test("guesses at no name that is far from all, and takes a part of a name for it")
    func guesses() {
        for name in [
            "NOSUCH", "BOGUS0", "BOGUS10", "PORT_X", "X", "OTHER_10", "", String(repeating: "Q", count: 999),
        ] {
            #expect(nearestVariable(to: "LLM_RATE_LIMIT_\(name)") == nil, "\(name)")
        }
        let near = [
            ("REQEUSTS", "REQUESTS"), ("SOKET", "SOCKET"), ("FAILURE", "FAILURE_MODE"), ("WINDOW_SECONDS", "WINDOW"),
        ]
        for (name, meant) in near {
            #expect(nearestVariable(to: "LLM_RATE_LIMIT_\(name)") == "LLM_RATE_LIMIT_\(meant)")
        }
    }

    @Test("passes over what Kubernetes sets for services named llm-rate-limit and llm-rate-limit-redis")
    func kubernetesVariables() throws {
        var environment: [String: String] = [:]
        for service in ["LLM_RATE_LIMIT", "LLM_RATE_LIMIT_REDIS", "LLM_RATE_LIMIT_2_DNS"] {
            environment["\(service)_SERVICE_HOST"] = "10.43.0.17"
            environment["\(service)_SERVICE_PORT"] = "80"
            environment["\(service)_SERVICE_PORT_HTTP"] = "80"
            environment["\(service)_SERVICE_PORT_METRICS_TLS"] = "9090"
            environment["\(service)_PORT"] = "tcp://10.43.0.17:80"
            for (port, kind) in [("80", "TCP"), ("53", "UDP"), ("9999", "SCTP")] {
                let name = "\(service)_PORT_\(port)_\(kind)"
                environment[name] = "\(kind.lowercased())://10.43.0.17:\(port)"
                environment["\(name)_PROTO"] = kind.lowercased()
                environment["\(name)_PORT"] = port
                environment["\(name)_ADDR"] = "10.43.0.17"
            }
        }
        #expect(try ConfigurationLoader(environment: environment).load().warnings.isEmpty)

        // What a person writes is none of these, whatever it looks like; nor is anything in a file.
        let written = ["PORT": "8089", "REDIS_PORT": "6379", "PORT_A_TCP": "1", "PORT_80": "1", "HOST": "10.43.0.17"]
        for (name, value) in written {
            let warnings = try ConfigurationLoader(environment: ["LLM_RATE_LIMIT_\(name)": value]).load().warnings
            #expect(warnings.count == 1 && warnings[0].contains("LLM_RATE_LIMIT_\(name)"), "\(name)")
        }
        let file = folder.write("env", "LLM_RATE_LIMIT_SERVICE_HOST=10.43.0.17\n")
        #expect(try ConfigurationLoader(flags: [.envFile: file], environment: [:]).load().warnings.count == 1)
    }

    @Test("warns first of what matters, and leaves none of it out, however many names are unknown")
    func warningsThatMatter() throws {
        var environment = [
            "LLM_RATE_LIMIT_REQUESTS": "0", "LLM_RATE_LIMIT_REDIS_URL": "rediss://h",
            "LLM_RATE_LIMIT_REDIS_TLS_VERIFY": "no", "LLM_RATE_LIMIT_SHADOW": "yes",
            "LLM_RATE_LIMIT_ENV_FILE": folder.write("env", String(repeating: "nonsense\n", count: 100)),
        ]
        for number in 10..<60 { environment["LLM_RATE_LIMIT_OTHER_\(number)"] = "1" }
        let warnings = try ConfigurationLoader(environment: environment).load().warnings
        #expect(warnings.count == 5)
        #expect(warnings[0].hasPrefix("LLM_RATE_LIMIT_REQUESTS=0 switches the limit off"))
        #expect(warnings[1] == "shadow mode: denials are counted and reported, and everybody passes")
        #expect(warnings[2].hasPrefix("LLM_RATE_LIMIT_REDIS_TLS_VERIFY=no: "))
        #expect(warnings[3].hasPrefix("lines 1, 2, 3, 4, 5, 6, 7, 8 and 92 more of "))
        #expect(
            warnings[4].hasPrefix("unknown variables are ignored: LLM_RATE_LIMIT_OTHER_10, LLM_RATE_LIMIT_OTHER_11, "))
        #expect(warnings[4].hasSuffix(", and 42 more") && warnings[4].utf8.count < 1_000)
    }

    @Test("warns of lines that say nothing or twice the same, and of a file that names another")
    func oddLines() throws {
        let file = folder.write(
            "env",
            """
            export LLM_RATE_LIMIT_SHADOW=yes
            LLM_RATE_LIMIT_THREADS=1
            LLM_RATE_LIMIT_THREADS=2
            LLM_RATE_LIMIT_ENV_FILE=/other
            LLM_RATE_LIMIT_KEY_PREFIX="open
            """)
        let configuration = try ConfigurationLoader(flags: [.envFile: file], environment: [:]).load()
        #expect(configuration.settings.threads == 2)
        #expect(configuration.settings.keyPrefix == "open")
        #expect(configuration.settings.envFile == file)
        #expect(
            configuration.warnings == [
                "the quote in line 5 of \(file) is not closed: all lines behind it are its value",
                "LLM_RATE_LIMIT_THREADS is set more than once in \(file): line 3 alone counts",
                "LLM_RATE_LIMIT_ENV_FILE is ignored in \(file): a file cannot name another",
                "line 1 of \(file) is ignored: expected NAME=value, without export",
            ])
    }

    @Test("counts the lines of a file that is full of others")
    func manyIgnoredLines() throws {
        let file = folder.write("env", String(repeating: "nonsense\n", count: 1000))
        let configuration = try ConfigurationLoader(flags: [.envFile: file], environment: [:]).load()
        #expect(
            configuration.warnings == [
                "lines 1, 2, 3, 4, 5, 6, 7, 8 and 992 more of \(file) are ignored: "
                    + "expected NAME=value, without export"
            ])
    }

    @Test("reads the first setting behind a byte order mark, and a file with the line ends of another system")
    func byteOrderMark() throws {
        let text = "LLM_RATE_LIMIT_REQUESTS=7\r\nLLM_RATE_LIMIT_WINDOW=\\\r\n30m\r\nLLM_RATE_LIMIT_SHADOW=yes\r\n"
        let file = folder.write("env", "\u{FEFF}" + text)
        let configuration = try ConfigurationLoader(flags: [.envFile: file], environment: [:]).load()
        #expect(configuration.settings.requests == 7 && configuration[.requests].source == .file(path: file, line: 1))
        #expect(configuration.settings.windowSeconds == 1800 && configuration.settings.isShadow)
        #expect(configuration.warnings.count == 1)
    }

    @Test("says loudly that a limit of 0 is none")
    func limitOff() throws {
        let configuration = try ConfigurationLoader(flags: [.requests: "0"], environment: [:]).load()
        #expect(
            configuration.warnings == ["LLM_RATE_LIMIT_REQUESTS=0 switches the limit off: every check is allowed"])
        // Where there are other limits it is how the one of requests is left out.
        let file = folder.write("limits.yaml", "limits: [{name: a, per: user, unit: requests, quota: 1, window: 1h}]\n")
        for others in [[.limitsFile: file], [.perSecond: "3"], [.maxConcurrency: "3"]] as [[OptionName: String]] {
            let flags = others.merging([.requests: "0"]) { $1 }
            #expect(try ConfigurationLoader(flags: flags, environment: [:]).load().warnings.isEmpty)
        }
        let empty = folder.write("empty.yaml", "limits: []\n")
        let none = ConfigurationLoader(flags: [.limitsFile: empty, .requests: "0"], environment: [:])
        #expect(try none.load().warnings.count == 1)
    }

    @Test("listens where other machines reach it only when told to")
    func publicListener() throws {
        let error = try #require(throws: ConfigurationError.self) {
            try ConfigurationLoader(environment: ["LLM_RATE_LIMIT_LISTEN": "0.0.0.0:8089"]).load()
        }
        #expect(
            error.description == "cannot use LLM_RATE_LIMIT_LISTEN=0.0.0.0:8089: other machines can reach it; "
                + "accepted are loopback addresses, and others with LLM_RATE_LIMIT_LISTEN_PUBLIC=yes")
        let configuration = try ConfigurationLoader(
            flags: [.listenPublic: "yes"], environment: ["LLM_RATE_LIMIT_LISTEN": "0.0.0.0:8089"]
        ).load()
        #expect(configuration.settings.listenAddress?.isLoopback == false)
    }

    @Test("refuses one path for both sockets")
    func sharedSocketPath() throws {
        let error = try #require(throws: ConfigurationError.self) {
            try ConfigurationLoader(flags: [.socket: "/a", .adminSocket: "/a"], environment: [:]).load()
        }
        #expect(error.problems.map(\.option) == [.adminSocket])
    }
}
