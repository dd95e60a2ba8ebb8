import BoundedFiles
import Configuration
import RateLimitCore
import RedisClient

/// One pass over the catalogue: the settings so far, where they came from, and what was wrong on the way.
struct Resolution {
    private(set) var settings = Settings()
    private var layers: [Layer]
    private var origins: [OptionName: (text: String, source: ValueSource)] = [:]
    private var problems: [OptionName: ConfigurationProblem] = [:]
    private var warnings: [String] = []

    /// More odd names and lines than this are only counted: a file of another kind would fill the log.
    static let maximumWarnings = 20
    private var omittedWarnings = 0

    init(layers: [Layer]) {
        self.layers = layers
    }

    mutating func resolve(_ option: OptionDefinition) {
        for layer in layers {
            guard let text = layer.text(of: option.name) else { continue }
            origins[option.name] = (text, layer.source(option.name))
            do {
                try option.apply(text, &settings)
            } catch {
                refuse(option.name, reason: error.reason, accepted: option.accepted)
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
        for line in file.ignoredLines {
            warn("line \(line) of \(printable(path)) is ignored: expected NAME=value, without export")
        }
        if let line = file.unclosedQuoteLine {
            warn("the quote in line \(line) of \(printable(path)) is not closed: all lines behind it are its value")
        }
        for assignment in file.assignments {
            if OptionName(variable: assignment.name) != nil, let earlier = lines[assignment.name] {
                warn(
                    "\(assignment.name) is set twice in \(printable(path)): "
                        + "line \(assignment.line) counts, line \(earlier) does not")
            }
            values[assignment.name] = assignment.value
            lines[assignment.name] = assignment.line
        }
        warnUnknownNames(values.keys, in: path)
        if values.removeValue(forKey: OptionName.envFile.variable) != nil {
            warn("\(OptionName.envFile.variable) is ignored in \(printable(path)): a file cannot name another")
        }
        layers.append(
            Layer(
                provider: EnvironmentVariablesProvider(
                    environmentVariables: values, secretsSpecifier: .specific(secretVariables)),
                source: { [lines] name in .file(path: path, line: lines[name.variable] ?? 1) }))
    }

    mutating func warnUnknownNames(_ names: some Sequence<String>, in path: String?) {
        for name in names.sorted() where name.uppercased().hasPrefix(OptionName.variablePrefix) {
            guard OptionName(variable: name) == nil else { continue }
            let place = path.map { " in \(printable($0))" } ?? ""
            let nearest = nearestVariable(to: name)
            warn("unknown variable \(printable(name))\(place) is ignored: did you mean \(nearest)?")
        }
    }

    /// Checks what no value shows alone.
    mutating func checkTogether() {
        if let address = settings.listenAddress, !address.isLoopback, !settings.isListenPublic,
            problems[.listenPublic] == nil
        {
            refuse(
                .listen, reason: "other machines can reach it",
                accepted: "loopback addresses, and others with \(OptionName.listenPublic.variable)=yes")
        }
        if settings.adminSocketPath == settings.socketPath, problems[.socket] == nil {
            refuse(
                .adminSocket, reason: "it is the path of \(OptionName.socket.variable) too",
                accepted: "paths of its own, or nothing for no admin socket")
        }
        checkLimits()
        checkRedisLogin()
        checkRedisTLS()
        warnAboutSentinelLogin()
        warnAboutSettings()
    }

    private mutating func checkLimits() {
        guard problems[.limitsFile] == nil else { return }
        do throws(LimitSetError) {
            _ = try settings.limits()
        } catch {
            let reason =
                switch error {
                case .tooMany: "with those of the variables there are more than \(LimitSet.maximumCount) limits"
                case .sameName, .sameID: "it names a limit as one of the variables is named"
                }
            refuse(.limitsFile, reason: reason, accepted: OptionCatalogue[.limitsFile].accepted)
        }
        if settings.groups == .given, settings.limitsFile == nil {
            warn("\(OptionName.groups.variable) is not used: \(OptionName.limitsFile.variable) names no file")
        }
    }

    func finish() throws(ConfigurationError) -> ResolvedConfiguration {
        let warnings = omittedWarnings == 0 ? warnings : warnings + ["\(omittedWarnings) more warnings are left out"]
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
        if settings.requests == 0 {
            warn("\(OptionName.requests.variable)=0 switches the limit off: every check is allowed")
        }
        if settings.allowedUsers != nil, let address = settings.listenAddress {
            warn(
                "\(OptionName.allowedUIDs.variable) does not hold on \(OptionName.listen.variable)=\(address): "
                    + "TCP knows no users")
        }
    }

    private mutating func warn(_ text: String) {
        if warnings.count < Self.maximumWarnings { warnings.append(text) } else { omittedWarnings += 1 }
    }
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
