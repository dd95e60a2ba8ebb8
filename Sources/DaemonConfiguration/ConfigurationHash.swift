import BoundedFiles
import LimitsFile

extension OptionName {
    /// The options on which it depends how a check is decided: daemons that share a Redis should agree in them.
    static let deciding: [OptionName] = [
        .requests, .window, .shadow, .failureMode, .replicas, .groups, .perSecond, .maxConcurrency, .keyPrefix,
    ]
}

extension ResolvedConfiguration {
    /// A number from 0 to 2^48 - 1 that is the same in daemons whose part is in force as it is here.
    ///
    /// Of the options those take part that decide, by their canonical texts. Of files their bytes do, so that a version
    /// that reads more in them has the same number; 0 stands for no file.
    public func hash(of part: ConfigurationPart) -> Int {
        switch part {
        case .options:
            var hash = ContentHash()
            for option in OptionName.deciding { hash.add(Array("\(option.variable)=\(self[option].value)\n".utf8)) }
            return hash.number()
        case .limits: return settings.limitsFile?.hash ?? 0
        case .descriptors: return settings.envoyConfiguration?.content.hash ?? 0
        }
    }
}
