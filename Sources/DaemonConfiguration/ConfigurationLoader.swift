import BoundedFiles
import Configuration
import RedisClient

/// Makes a configuration of flags, environment and file: the first of them that has a value gives it.
///
/// Flags and environment are those of the start. The file is read at every `load()`.
public struct ConfigurationLoader: Sendable {
    private let flags: [OptionName: String]
    private let environment: [String: String]

    /// A loader over the flags that were given and the process's environment (other programs' variables included).
    public init(flags: [OptionName: String] = [:], environment: [String: String]) {
        self.flags = flags
        self.environment = environment.filter {
            $0.key.uppercased().hasPrefix(OptionName.variablePrefix) || $0.key.hasPrefix(OptionName.sharedPrefix)
        }
    }

    /// Reads the file, if one is named, and resolves every option.
    ///
    /// Reads at most 1 MiB of each file; blocks while it does.
    /// - Throws: `ConfigurationError` with all values that cannot be used, not only the first.
    public func load() throws(ConfigurationError) -> ResolvedConfiguration { try load(keeping: KeptFiles()) }

    /// Does the same with files as they were read already, where the options name those.
    func load(keeping kept: KeptFiles) throws(ConfigurationError) -> ResolvedConfiguration {
        var resolution = Resolution(layers: [flagLayer, environmentLayer], keeping: kept)
        resolution.noteUnknownNames(environment)
        resolution.resolve(OptionCatalogue[.envFile])
        if let path = resolution.settings.envFile { readFile(path, into: &resolution) }
        for option in OptionCatalogue.all where option.name != .envFile { resolution.resolve(option) }
        resolution.checkTogether()
        return try resolution.finish()
    }

    /// Resolves one option alone, as `load()` does; every other has its default.
    ///
    /// The file is read only where neither flag nor environment gives the value, so that a file that cannot be read
    /// is in nobody's way who needs nothing of it. Of the file's other lines nothing is said.
    /// - Throws: `ConfigurationError` where this option's value, or the file that may have it, cannot be used.
    public func load(only option: OptionName) throws(ConfigurationError) -> Settings {
        let layers = [flagLayer, environmentLayer]
        var resolution = Resolution(layers: layers)
        if layers.allSatisfy({ $0.text(of: option) == nil }) {
            resolution.resolve(OptionCatalogue[.envFile])
            if let path = resolution.settings.envFile { readFile(path, into: &resolution) }
        }
        resolution.resolve(OptionCatalogue[option])
        return try resolution.finish().settings
    }

    private func readFile(_ path: String, into resolution: inout Resolution) {
        do {
            let content = try BoundedFile(path: path, maximumBytes: EnvironmentFile.maximumBytes)
            let file = try EnvironmentFile(parsing: content.bytes)
            resolution.addFile(file, path: path)
        } catch {
            resolution.refuse(
                .envFile, reason: "\(error)", accepted: "paths of readable files of NAME=value lines, at most 1 MiB")
        }
    }

    private var flagLayer: Layer {
        Layer(
            provider: InMemoryProvider(
                name: "flags",
                values: Dictionary(
                    uniqueKeysWithValues: flags.map { name, text in
                        (name.key, ConfigValue(.string(text), isSecret: OptionCatalogue[name].isSecret))
                    })),
            source: { .flag($0) })
    }

    private var environmentLayer: Layer {
        Layer(
            provider: EnvironmentVariablesProvider(
                environmentVariables: environment, secretsSpecifier: .specific(secretVariables)),
            source: { _ in .environment })
    }
}

/// Files that were read already: options that name them do not have them read again.
struct KeptFiles {
    var limits: LimitsFileSetting?
    /// Whether the limits stay also where the options name another file, or none.
    var holdsLimits = false
    var descriptors: EnvoyConfigurationSetting?

    /// Those of settings.
    init(_ settings: Settings) {
        limits = settings.limitsFile
        descriptors = settings.envoyConfiguration
    }

    /// None.
    init() {}
}

/// The variables that providers must not print.
let secretVariables = Set(OptionCatalogue.all.filter(\.isSecret).map(\.name.variable))

/// A provider of values, and what to call the origin of those it gives.
struct Layer: Sendable {
    let provider: any ConfigProvider
    let source: @Sendable (OptionName) -> ValueSource

    func text(of option: OptionName) -> String? {
        // Only texts were put into the providers, so the one error there is, another type, cannot come.
        guard case .string(let text)? = try? provider.value(forKey: option.key, type: .string).value?.content else {
            return nil
        }
        return text
    }
}
