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
    /// - Parameter readsFiles: whether the files in force are read again that options name; what they say stays otherwise.
    public func reload(replacing current: ResolvedConfiguration, readsFiles: Bool = true) -> ReloadedConfiguration {
        var errors: [ConfigurationPart: ConfigurationError] = [:]
        let former = KeptFiles(current.settings)
        var newest = former
        if readsFiles {
            do throws(ConfigurationError) { newest.limits = try current.limitsFileAsItIs() } catch {
                errors[.limits] = error
            }
            do throws(ConfigurationError) {
                newest.descriptors = try current.envoyConfigurationAsItIs()
            } catch {
                errors[.descriptors] = error
            }
        }
        do throws(ConfigurationError) {
            return merged(try load(keeping: newest), into: current, errors)
        } catch {
            if error.problems.allSatisfy({ $0.option == .limitsFile }) {
                var kept = newest
                kept.limits = former.limits
                if newest.limits != former.limits, let new = try? load(keeping: kept) {
                    errors[.limits] = error
                    return merged(new, into: current, errors)
                }
                // The options name another file, which cannot be used: all else that they say can.
                kept.holdsLimits = true
                if let new = try? load(keeping: kept) {
                    var reloaded = merged(new, into: current, errors)
                    reloaded.failures[.options] = error
                    return reloaded
                }
            }
            var reloaded = ReloadedConfiguration(configuration: current)
            if readsFiles {
                for part in [ConfigurationPart.limits, .descriptors] {
                    let alone = reload(part, replacing: reloaded.configuration)
                    reloaded.configuration = alone.configuration
                    reloaded.changes += alone.changes
                    reloaded.failures.merge(alone.failures) { $1 }
                }
            }
            reloaded.failures[.options] = error
            return reloaded
        }
    }

    /// Reads the file in force again that a part of the configuration is in, and nothing else: all options stay as they
    /// are.
    ///
    /// - Precondition: the part is in a file of its own.
    public func reload(_ part: ConfigurationPart, replacing current: ResolvedConfiguration) -> ReloadedConfiguration {
        var reloaded = ReloadedConfiguration(configuration: current)
        do throws(ConfigurationError) {
            switch part {
            case .limits:
                reloaded.configuration.settings.limitsFile = try current.limitsFileAsItIs()
                try reloaded.configuration.checkLimits()
            case .descriptors:
                reloaded.configuration.settings.envoyConfiguration = try current.envoyConfigurationAsItIs()
            case .options: preconditionFailure("the options are in no file of their own")
            }
            reloaded.changes = fileChanges(from: current.settings, to: reloaded.configuration.settings)
        } catch {
            reloaded = ReloadedConfiguration(configuration: current, failures: [part: error])
        }
        return reloaded
    }

    private func merged(
        _ new: ResolvedConfiguration, into current: ResolvedConfiguration,
        _ errors: [ConfigurationPart: ConfigurationError]
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
        changes += fileChanges(from: current.settings, to: new.settings)
        if let secret = new.settings.authSecret, let former = current.settings.authSecret, secret.path == former.path,
            secret.key != former.key
        {
            changes.append("\(OptionName.authSecretFile.variable): the secret changed")
        }
        if let secret = new.settings.eventsWebhookSecret, let former = current.settings.eventsWebhookSecret,
            secret.path == former.path, secret.secret != former.secret
        {
            changes.append("\(OptionName.eventsWebhookSecretFile.variable): the secret changed")
        }
        return ReloadedConfiguration(
            configuration: merged, changes: changes,
            needRestart: changesThatNeedRestart(from: current.settings, to: new.settings),
            failures: errors.filter { part, _ in
                // What is wrong with a file does not matter where another is named in its place.
                part != .limits || new.settings.limitsFile?.path == current.settings.limitsFile?.path
            }.filter { part, _ in
                part != .descriptors
                    || new.settings.envoyConfiguration?.path == current.settings.envoyConfiguration?.path
            })
    }
}

/// What the files that options name say otherwise in the second settings than in the first.
private func fileChanges(from old: Settings, to new: Settings) -> [String] {
    var changes = limitsChanges(from: old, to: new)
    if let configuration = new.envoyConfiguration, let former = old.envoyConfiguration,
        configuration.path == former.path, configuration.content != former.content
    {
        changes.append("what \(OptionName.envoyConfig.variable) says")
    }
    return changes
}

extension ResolvedConfiguration {
    /// The limits file in force as it can be read now; nil where there is none.
    fileprivate func limitsFileAsItIs() throws(ConfigurationError) -> LimitsFileSetting? {
        guard let path = settings.limitsFile?.path else { return nil }
        do throws(ValueRejection) {
            return try LimitsFileSetting(reading: path)
        } catch {
            throw fileError(error, .limitsFile)
        }
    }

    /// envoyproxy/ratelimit's configuration in force as it can be read now; nil where there is none.
    fileprivate func envoyConfigurationAsItIs() throws(ConfigurationError) -> EnvoyConfigurationSetting? {
        guard let path = settings.envoyConfiguration?.path else { return nil }
        do throws(ValueRejection) {
            return try EnvoyConfigurationSetting(reading: path)
        } catch {
            throw fileError(error, .envoyConfig)
        }
    }

    /// Refuses limits that do not go together with those of the options.
    fileprivate func checkLimits() throws(ConfigurationError) {
        if let rejection = settings.limitsRejection { throw fileError(rejection, .limitsFile) }
    }

    private func fileError(_ rejection: ValueRejection, _ name: OptionName) -> ConfigurationError {
        let option = OptionCatalogue[name]
        let problem = ConfigurationProblem(
            option: name, shownValue: option.shown(option.render(settings)), source: self[name].source,
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
