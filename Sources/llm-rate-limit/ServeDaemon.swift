import DaemonConfiguration

/// Why the daemon ended other than by a signal.
enum ServeError: Error, CustomStringConvertible {
    case notBuilt

    var description: String {
        switch self {
        case .notBuilt: "cannot serve: not built yet"
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// - Parameters:
///   - configuration: What is in force at the start; its warnings have not been shown yet.
///   - loader: Reads the configuration again on SIGHUP (`reload(replacing:)`).
func serveDaemon(_ configuration: ResolvedConfiguration, loader: ConfigurationLoader) async throws(ServeError) {
    throw .notBuilt
}
