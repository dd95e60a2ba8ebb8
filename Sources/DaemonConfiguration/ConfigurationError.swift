/// Why no configuration could be made: every value that cannot be used, and the warnings found beside them.
public struct ConfigurationError: Error, Sendable, Equatable {
    /// At least one, in the order of the catalogue.
    public let problems: [ConfigurationProblem]
    /// What is odd but would not have stopped the start.
    public let warnings: [String]
}

extension ConfigurationError: CustomStringConvertible {
    /// One line for each problem.
    public var description: String {
        problems.map(\.description).joined(separator: "\n")
    }
}

/// One value that cannot be used.
public struct ConfigurationProblem: Sendable, Equatable {
    /// The option whose value it is.
    public let option: OptionName
    /// The value as it may be shown: on one line, cut, with secrets masked.
    public let shownValue: String
    /// Where the value came from.
    public let source: ValueSource
    /// What is wrong with it, where what is accepted does not say it.
    public let reason: String?
    /// Completes the sentence "accepted are …".
    public let accepted: String
}

extension ConfigurationProblem: CustomStringConvertible {
    /// `cannot use LLM_RATE_LIMIT_REQUESTS=abc: accepted are whole numbers from 0 to 1,000,000,000 (…)`.
    public var description: String {
        let place =
            switch source {
            case .flag(let name): " (flag \(name.flag))"
            case .file(let path, let line): " (\(printable(path)), line \(line))"
            case .environment, .default: ""
            }
        let reason = reason.map { "\($0); " } ?? ""
        return "cannot use \(option.variable)=\(shownValue)\(place): \(reason)accepted are \(accepted)"
    }
}
