/// Where the value of an option came from.
public enum ValueSource: Sendable, Equatable {
    /// The command line.
    case flag(OptionName)
    /// The process environment.
    case environment
    /// The file that `LLM_RATE_LIMIT_ENV_FILE` names; the line is counted from 1.
    case file(path: String, line: Int)
    /// Nobody gave one.
    case `default`

    /// One word, for tables: `flag`, `environment`, `file` or `default`.
    public var kind: String {
        switch self {
        case .flag: "flag"
        case .environment: "environment"
        case .file: "file"
        case .default: "default"
        }
    }
}

extension ValueSource: CustomStringConvertible {
    /// The source in full, such as `flag --requests` or `file /etc/llm-rate-limit/llm-rate-limit.env`.
    public var description: String {
        switch self {
        case .flag(let name): "flag \(name.flag)"
        case .environment: "environment"
        case .file(let path, _): "file \(printable(path))"
        case .default: "default"
        }
    }
}
