/// What a reload puts in force, and what it leaves for a restart.
public struct ReloadedConfiguration: Sendable, Equatable {
    /// What is in force from now on: the reloadable options as they are now, the others as they were.
    public let configuration: ResolvedConfiguration
    /// The reloadable options that changed.
    public let applied: [ChangedOption]
    /// The options that changed and take effect only after a restart.
    public let needRestart: [ChangedOption]
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
    /// Reads the file again (SIGHUP) and takes over what can change while the daemon runs.
    ///
    /// Its `warnings` are those of this reading.
    /// - Parameter only: the one option that is taken over; nil takes over all.
    /// - Throws: `ConfigurationError`; then `current` stays in force as a whole.
    public func reload(
        replacing current: ResolvedConfiguration, only: OptionName? = nil
    ) throws(ConfigurationError) -> ReloadedConfiguration {
        let new = try load()
        var merged = ResolvedConfiguration(settings: current.settings, entries: [], warnings: new.warnings)
        var applied: [ChangedOption] = []
        for option in OptionCatalogue.all {
            guard option.isReloadable, only == nil || option.name == only else {
                merged.entries.append(current[option.name])
                continue
            }
            option.copy(new.settings, &merged.settings)
            merged.entries.append(new[option.name])
            if let change = changedOption(option, from: current.settings, to: new.settings) { applied.append(change) }
        }
        return ReloadedConfiguration(
            configuration: merged, applied: applied,
            needRestart: only == nil ? changesThatNeedRestart(from: current.settings, to: new.settings) : [])
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
    return ChangedOption(option: option.name, old: option.render(old), new: option.render(new))
}
