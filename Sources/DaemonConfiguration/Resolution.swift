import BoundedFiles
import Configuration
import LimitsFile
import RateLimitCore
import RedisClient

/// One pass over the catalogue: the settings so far, where they came from, and what was wrong on the way.
struct Resolution {
    private(set) var settings = Settings()
    private var layers: [Layer]
    private var origins: [OptionName: (text: String, source: ValueSource)] = [:]
    private var problems: [OptionName: ConfigurationProblem] = [:]
    /// What the values mean for who runs the daemon: at most a few for each option.
    private var warnings: [String] = []
    /// What is odd in how they are written: at most one line for each option and three for the file.
    private var oddities: [String] = []
    private var unknownNames = UnknownNames()

    /// How many ignored lines of a file are named.
    static let maximumLinesShown = 8

    private let kept: KeptFiles

    init(layers: [Layer], keeping kept: KeptFiles = KeptFiles()) {
        self.layers = layers
        self.kept = kept
    }

    mutating func resolve(_ option: OptionDefinition) {
        for layer in layers {
            guard let text = layer.text(of: option.name) else { continue }
            origins[option.name] = (text, layer.source(option.name))
            if option.name == .limitsFile, kept.holdsLimits || kept.limits?.path == text {
                settings.limitsFile = kept.limits
                return
            }
            if option.name == .envoyConfig, let descriptors = kept.descriptors, descriptors.path == text {
                settings.envoyConfiguration = descriptors
                return
            }
            do {
                try option.apply(text, &settings)
            } catch {
                refuse(option.name, reason: error.reason, accepted: error.accepted ?? option.accepted)
            }
            return
        }
    }

    mutating func refuse(_ name: OptionName, reason: String?, accepted: String) {
        let origin = origins[name] ?? (OptionCatalogue[name].defaultText, .default)
        problems[name] = ConfigurationProblem(
            option: name, shownValue: OptionCatalogue[name].shown(origin.text), source: origin.source,
            reason: reason, accepted: accepted)
    }

    /// Adds a file's variables as the layer below those there are.
    mutating func addFile(_ file: EnvironmentFile, path: String) {
        var values: [String: String] = [:]
        var lines: [String: Int] = [:]
        var repeated: [OptionName: Int] = [:]
        if let line = file.unclosedQuoteLine {
            oddities.append(
                "the quote in line \(line) of \(printable(path)) is not closed: all lines behind it are its value")
        }
        for assignment in file.assignments {
            if let option = OptionName(variable: assignment.name), lines[assignment.name] != nil {
                repeated[option] = assignment.line
            }
            values[assignment.name] = assignment.value
            lines[assignment.name] = assignment.line
        }
        for (option, line) in repeated.sorted(by: { $0.value < $1.value }) {
            oddities.append(
                "\(option.variable) is set more than once in \(printable(path)): line \(line) alone counts")
        }
        unknownNames.note(values, in: path)
        if values.removeValue(forKey: OptionName.envFile.variable) != nil {
            oddities.append(
                "\(OptionName.envFile.variable) is ignored in \(printable(path)): a file cannot name another")
        }
        if !file.ignoredLines.isEmpty { oddities.append(ignored(file.ignoredLines, of: path)) }
        layers.append(
            Layer(
                provider: EnvironmentVariablesProvider(
                    environmentVariables: values, secretsSpecifier: .specific(secretVariables)),
                source: { [lines] name in .file(path: path, line: lines[name.variable] ?? 1) }))
    }

    private func ignored(_ lines: [Int], of path: String) -> String {
        let shown = lines.prefix(Self.maximumLinesShown).map { "\($0)" }
        let rest = lines.count > shown.count ? " and \(lines.count - shown.count) more" : ""
        let what =
            lines.count == 1
            ? "line \(shown[0]) of \(printable(path)) is"
            : "lines \(shown.joined(separator: ", "))\(rest) of \(printable(path)) are"
        return "\(what) ignored: expected NAME=value, without export"
    }

    /// Looks for misspelt names in the environment.
    mutating func noteUnknownNames(_ environment: [String: String]) {
        unknownNames.note(environment, in: nil)
    }

    /// Checks what no value shows alone.
    mutating func checkTogether() {
        for (name, address) in [(OptionName.listen, settings.listenAddress), (.grpcListen, settings.grpcListenAddress)]
        {
            guard let address, !address.isLoopback, !settings.isListenPublic, problems[.listenPublic] == nil else {
                continue
            }
            refuse(
                name, reason: "other machines can reach it",
                accepted: "loopback addresses, and others with \(OptionName.listenPublic.variable)=yes")
        }
        checkPaths()
        checkGRPC()
        checkTracing()
        checkEvents()
        warnAboutSettings()
        checkLimits()
        checkRedisTLS()
        checkRedisLogin()
        warnAboutSentinelLogin()
    }

    /// Refuses a socket at the path of another.
    private mutating func checkPaths() {
        var taken: [String: OptionName] = [settings.socketPath: .socket]
        for (name, path) in [
            (OptionName.adminSocket, settings.adminSocketPath), (.grpcSocket, settings.grpcSocketPath),
        ] {
            guard let path, problems[name] == nil else { continue }
            if let other = taken[path], problems[other] == nil {
                refuse(
                    name, reason: "it is the path of \(other.variable) too",
                    accepted: "paths of its own, or nothing for no such socket")
            }
            taken[path] = name
        }
    }

    private mutating func checkLimits() {
        guard problems[.limitsFile] == nil else { return }
        if let rejection = settings.limitsRejection {
            refuse(.limitsFile, reason: rejection.reason, accepted: OptionCatalogue[.limitsFile].accepted)
        }
        if settings.groups == .given, settings.limitsFile == nil {
            warn("\(OptionName.groups.variable) is not used: \(OptionName.limitsFile.variable) names no file")
        }
    }

    func finish() throws(ConfigurationError) -> ResolvedConfiguration {
        let warnings = warnings + oddities + (unknownNames.warning.map { [$0] } ?? [])
        let found = OptionCatalogue.all.compactMap { problems[$0.name] }
        guard found.isEmpty else { throw ConfigurationError(problems: found, warnings: warnings) }
        let entries = OptionCatalogue.all.map { option in
            ResolvedConfiguration.Entry(
                option: option.name, value: printable(option.render(settings), maximumCharacters: 8192),
                source: origins[option.name]?.source ?? .default)
        }
        return ResolvedConfiguration(settings: settings, entries: entries, warnings: warnings)
    }

    private mutating func warnAboutSettings() {
        let hasOthers = settings.limitsFile?.content.limits.limits.isEmpty == false
        if settings.requests == 0, settings.requestsPerSecond == 0, settings.maxConcurrency == 0, !hasOthers,
            problems[.limitsFile] == nil
        {
            warn("\(OptionName.requests.variable)=0 switches the limit off: every check is allowed")
        }
        if let secret = settings.authSecret, secret.isReadableByEveryone {
            warn("\(printable(secret.path)) holds the secret of tokens and every user can read it: chmod it to 0600")
        }
        if settings.authHeaders.namesGroups, settings.groups != .given {
            warn(
                "the group of \(OptionName.authHeaders.variable) is not used: "
                    + "\(OptionName.groups.variable)=\(settings.groups.rawValue) takes none that a call names")
        }
        if settings.isShadow { warn("shadow mode: denials are counted and reported, and everybody passes") }
        for (name, address) in [(OptionName.listen, settings.listenAddress), (.grpcListen, settings.grpcListenAddress)]
        {
            guard settings.allowedUsers != nil, let address else { continue }
            warn("\(OptionName.allowedUIDs.variable) does not hold on \(name.variable)=\(address): TCP knows no users")
        }
    }

    mutating func warn(_ text: String) { warnings.append(text) }

    /// Whether an option was given where only this daemon is meant: not in an environment that programs may share.
    func isGivenForThisDaemon(_ name: OptionName) -> Bool {
        switch origins[name]?.source {
        case .flag, .file: true
        case .environment, .default, nil: false
        }
    }

    /// Whether nothing is wrong with an option so far.
    func isUnproblematic(_ name: OptionName) -> Bool { problems[name] == nil }
}

// MARK: - Redis

extension Resolution {
    private mutating func checkRedisLogin() {
        let url = settings.redisURL.server
        if settings.redisUserFile != nil {
            if settings.redisPasswordFile == nil, url.password == nil, problems[.redisPasswordFile] == nil {
                refuse(
                    .redisUserFile, reason: "no password goes with the user",
                    accepted: "files beside a password, as from \(OptionName.redisPasswordFile.variable)")
            }
            if url.user != nil { warnUnused("user", for: .redisUserFile) }
        }
        for file in [settings.redisPasswordFile, settings.sentinelPasswordFile].compactMap(\.self)
        where file.isReadableByEveryone {
            warn("\(printable(file.path)) holds the Redis password and every user can read it: chmod it to 0600")
        }
        if settings.redisPasswordFile != nil, url.password != nil { warnUnused("password", for: .redisPasswordFile) }
        if url.password != nil, case .flag? = origins[.redisURL]?.source {
            warn(
                "the password in \(OptionName.redisURL.flag) could be read in the process list until now: "
                    + "give it with \(OptionName.redisPasswordFile.flag)")
        }
    }

    private mutating func warnUnused(_ part: String, for name: OptionName) {
        warn("the \(part) in \(OptionName.redisURL.variable) is not used: \(name.variable) names another")
    }

    private mutating func warnAboutSentinelLogin() {
        let names = [OptionName.sentinelUser, .sentinelPasswordFile]
        for name in names where !OptionCatalogue[name].render(settings).isEmpty {
            if case .sentinel = settings.redisURL { continue }
            warn("\(name.variable) is not used: \(OptionName.redisURL.variable) names no Sentinels")
        }
        if settings.sentinelUser != nil, settings.sentinelPasswordFile == nil {
            warn(
                "\(OptionName.sentinelUser.variable) is not used: "
                    + "\(OptionName.sentinelPasswordFile.variable) names no password")
        }
    }

    private mutating func checkRedisTLS() {
        let options: [OptionName] = [
            .redisCAFile, .redisCertificateFile, .redisKeyFile, .redisServerName, .redisTLSVerify,
        ]
        guard options.allSatisfy({ problems[$0] == nil }), problems[.redisURL] == nil else { return }
        guard let tls = settings.redis.tls else {
            for name in options where OptionCatalogue[name].render(settings) != OptionCatalogue[name].defaultText {
                warn("\(name.variable) is not used: \(OptionName.redisURL.variable) does not begin with rediss")
            }
            return
        }
        if !tls.verifiesServer {
            warn(
                "\(OptionName.redisTLSVerify.variable)=no: whoever answers at Redis's address is taken for Redis, "
                    + "and is told the password")
        }
        if let path = tls.keyFile, BoundedFile.isReadableByEveryone(path) {
            warn("\(printable(path)) holds the key for Redis and every user can read it: chmod it to 0600")
        }
        for (given, missing) in [
            (OptionName.redisCertificateFile, OptionName.redisKeyFile), (.redisKeyFile, .redisCertificateFile),
        ] where !OptionCatalogue[given].render(settings).isEmpty && OptionCatalogue[missing].render(settings).isEmpty {
            return refuse(
                given, reason: "\(missing.variable) is missing",
                accepted: "certificate and key together; they may be one file")
        }
        do throws(TLSFileError) {
            try tls.check()
        } catch {
            let (name, reason): (OptionName, String) =
                switch error {
                case .authorities(let reason): (.redisCAFile, reason)
                case .certificate(let reason): (.redisCertificateFile, reason)
                case .key(let reason): (.redisKeyFile, reason)
                }
            refuse(name, reason: reason, accepted: OptionCatalogue[name].accepted)
        }
    }
}
