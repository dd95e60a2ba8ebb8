public import LimitsFile
public import RateLimitCore

/// The configuration of envoyproxy/ratelimit, as it was when it was read.
public struct EnvoyConfigurationSetting: Sendable, Equatable {
    /// The file, or the folder of the files.
    public let path: String
    /// What they say.
    public let content: EnvoyConfiguration
}

extension EnvoyConfigurationSetting {
    /// Reads a file, or all files of a folder.
    init(reading path: String) throws(ValueRejection) {
        try checkPath(path)
        do throws(EnvoyConfigurationError) {
            self.init(path: path, content: try EnvoyConfiguration(readingAt: path))
        } catch {
            let file = error.path == path ? "" : "\(printable(error.path)): "
            throw ValueRejection(
                file + (error.line.map { "line \($0): " } ?? "") + error.reason, accepted: error.accepted)
        }
    }
}

extension Settings {
    /// The limits that descriptors of Envoy's rate limit service meet.
    public var descriptors: DescriptorRules { envoyConfiguration?.content.rules ?? .none }
}

extension ValueSyntax where Value == EnvoyConfigurationSetting {
    /// The path of envoyproxy/ratelimit's configuration, which is read.
    static var envoyConfiguration: Self {
        Self(
            placeholder: "file|folder",
            accepted: "paths of a readable YAML file of envoyproxy/ratelimit's, or of a folder of them",
            parse: { text throws(ValueRejection) in try EnvoyConfigurationSetting(reading: text) },
            render: { $0.path })
    }
}
