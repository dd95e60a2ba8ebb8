/// What a reload puts in force, and what it leaves as it was.
public struct ReloadedConfiguration: Sendable, Equatable {
    /// What is in force from now on: the reloadable options as they are now, the others as they were.
    public internal(set) var configuration: ResolvedConfiguration
    /// What has changed in it, one text for each: `LLM_RATE_LIMIT_REQUESTS: 20 -> 30`, `limit team: quota 10 -> 20`.
    public internal(set) var changes: [String] = []
    /// The options that changed and take effect only after a restart.
    public internal(set) var needRestart: [ChangedOption] = []
    /// Why a part stays as it was; nothing for a part that could be used.
    public internal(set) var failures: [ConfigurationPart: ConfigurationError] = [:]
}

/// One option with its value before and after, secrets masked.
public struct ChangedOption: Sendable, Equatable, CustomStringConvertible {
    /// The option.
    public let option: OptionName
    /// The canonical text before.
    public let old: String
    /// The canonical text after; the same as before where only a masked secret changed.
    public let new: String

    /// `LLM_RATE_LIMIT_REQUESTS: 20 -> 30`.
    public var description: String {
        old == new ? "\(option.variable): a secret changed" : "\(option.variable): \(old) -> \(new)"
    }
}

extension ConfigurationLoader {
    /// Reads everything again (SIGHUP) and takes over what can change while the daemon runs.
    ///
    /// Where options and limits cannot be used together, what can be used alone is taken over: the options before the
    /// limits. Its `warnings` are those of this reading.
    /// - Parameter readsLimits: whether the limits file in force is read again; what it says stays otherwise.
    public func reload(replacing current: ResolvedConfiguration, readsLimits: Bool = true) -> ReloadedConfiguration {
        var limitsError: ConfigurationError?
        var newest = current.settings.limitsFile
        if readsLimits {
            do throws(ConfigurationError) { newest = try current.limitsFileAsItIs() } catch { limitsError = error }
        }
        do throws(ConfigurationError) {
            let new = try load(keeping: newest)
            // What is wrong with a file does not matter where another is named in its place.
            let isSameFile = new.settings.limitsFile?.path == current.settings.limitsFile?.path
            return merged(new, into: current, limitsError: isSameFile ? limitsError : nil)
        } catch {
            if error.problems.allSatisfy({ $0.option == .limitsFile }) {
                let former = current.settings.limitsFile
                if newest != former, let new = try? load(keeping: former) {
                    return merged(new, into: current, limitsError: error)
                }
                // The options name another file, which cannot be used: all else that they say can.
                if let new = try? load(keeping: former, holdsLimits: true) {
                    var reloaded = merged(new, into: current, limitsError: limitsError)
                    reloaded.failures[.options] = error
                    return reloaded
                }
            }
            var reloaded = ReloadedConfiguration(configuration: current)
            if readsLimits { reloaded = reloadLimits(replacing: current) }
            reloaded.failures[.options] = error
            return reloaded
        }
    }

    /// Reads the limits file in force again, and nothing else: all options stay as they are.
    public func reloadLimits(replacing current: ResolvedConfiguration) -> ReloadedConfiguration {
        var reloaded = ReloadedConfiguration(configuration: current)
        do throws(ConfigurationError) {
            reloaded.configuration.settings.limitsFile = try current.limitsFileAsItIs()
            try reloaded.configuration.checkLimits()
            reloaded.changes = limitsChanges(from: current.settings, to: reloaded.configuration.settings)
        } catch {
            reloaded = ReloadedConfiguration(configuration: current, failures: [.limits: error])
        }
        return reloaded
    }

    private func merged(
        _ new: ResolvedConfiguration, into current: ResolvedConfiguration, limitsError: ConfigurationError?
    ) -> ReloadedConfiguration {
        var merged = ResolvedConfiguration(settings: current.settings, entries: [], warnings: new.warnings)
        var changes: [String] = []
        for option in OptionCatalogue.all {
            guard option.isReloadable else {
                merged.entries.append(current[option.name])
                continue
            }
            option.copy(new.settings, &merged.settings)
            merged.entries.append(new[option.name])
            if let change = changedOption(option, from: current.settings, to: new.settings) {
                changes.append(change.description)
            }
        }
        changes += limitsChanges(from: current.settings, to: new.settings)
        if let secret = new.settings.authSecret, let former = current.settings.authSecret, secret.path == former.path,
            secret.key != former.key
        {
            changes.append("\(OptionName.authSecretFile.variable): the secret changed")
        }
        return ReloadedConfiguration(
            configuration: merged, changes: changes,
            needRestart: changesThatNeedRestart(from: current.settings, to: new.settings),
            failures: limitsError.map { [.limits: $0] } ?? [:])
    }
}

extension ResolvedConfiguration {
    /// The limits file in force as it can be read now; nil where there is none.
    fileprivate func limitsFileAsItIs() throws(ConfigurationError) -> LimitsFileSetting? {
        guard let path = settings.limitsFile?.path else { return nil }
        do throws(ValueRejection) {
            return try LimitsFileSetting(reading: path)
        } catch {
            throw limitsError(error)
        }
    }

    /// Refuses limits that do not go together with those of the options.
    fileprivate func checkLimits() throws(ConfigurationError) {
        if let rejection = settings.limitsRejection { throw limitsError(rejection) }
    }

    private func limitsError(_ rejection: ValueRejection) -> ConfigurationError {
        let option = OptionCatalogue[.limitsFile]
        let problem = ConfigurationProblem(
            option: .limitsFile, shownValue: option.shown(option.render(settings)), source: self[.limitsFile].source,
            reason: rejection.reason, accepted: rejection.accepted ?? option.accepted)
        return ConfigurationError(problems: [problem], warnings: [])
    }
}

/// The options in which two settings differ and that are not reloadable.
public func changesThatNeedRestart(from old: Settings, to new: Settings) -> [ChangedOption] {
    OptionCatalogue.all.compactMap { option in
        option.isReloadable ? nil : changedOption(option, from: old, to: new)
    }
}

private func changedOption(_ option: OptionDefinition, from old: Settings, to new: Settings) -> ChangedOption? {
    guard !option.isSame(old, new) else { return nil }
    let change = ChangedOption(option: option.name, old: option.render(old), new: option.render(new))
    // What changed inside of a file that keeps its path is told by itself.
    return change.old == change.new && !option.isSecret ? nil : change
}
